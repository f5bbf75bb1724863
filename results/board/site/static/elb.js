// What every page needs: numbers as text, elements without innerHTML, embedded data, the search box.
"use strict";
(function () {
  // `value` with `digits` decimals as Python's format does: exact ties go to the even digit, where toFixed goes away from zero.
  ELB.fixed = function (value, digits) {
    const text = value.toFixed(digits);
    const long = Math.abs(value).toFixed(60);
    const end = long.length - 60 + digits;
    if (long[end] !== "5" || /[1-9]/.test(long.slice(end + 1))) return Object.is(value, -0) ? "-" + text : text;
    const below = digits ? long.slice(0, end) : long.slice(0, end - 1);
    const even = Number(below[below.length - 1]) % 2 === 0;
    return even ? (value < 0 ? "-" : "") + below : text;
  };

  // `value` with one decimal and an exponent of two digits, as Python's ".1e": exact ties go to the even digit too.
  ELB.exponent = function (value) {
    const [long, power] = Math.abs(value).toExponential(60).split("e");
    const even = /^\d\.[02468]50*$/.test(long);
    const text = even ? `${value < 0 ? "-" : ""}${long.slice(0, 3)}e${power}` : value.toExponential(1);
    return text.replace(/e([+-])(\d)$/, (_, sign, digit) => `e${sign}0${digit}`);
  };

  // The same text as results/board/render.py::number: `mean ± half` with the digits that the interval supports; half is its larger side.
  // A saturated value has a ceiling, and is a bound.
  ELB.number = function (cell) {
    if (!cell) return "–";
    const single = cell.low === null || cell.low === undefined;
    const half = single ? 0 : Math.max(cell.high - cell.mean, cell.mean - cell.low);
    const reference = half > 0 ? half : Math.abs(cell.mean) / 1000;
    let digits = 4;
    while (digits > 0 && reference >= 2 * 10 ** (1 - digits)) digits -= 1;
    const large = Math.max(Math.abs(cell.mean), half) >= 1e6;
    const form = (value) => (large ? ELB.exponent(value) : ELB.fixed(value, Math.max(digits, 1)));
    if (cell.ceiling) return `≥ ${form(cell.mean)}`;
    return single ? form(cell.mean) : `${form(cell.mean)} ± ${form(half)}`;
  };

  // A number of any size with three significant digits, for costs and axes.
  ELB.short = function (value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (Math.abs(value) >= size) return `${Number((value / (letter === "k" ? 1e3 : size)).toPrecision(3))} ${letter}`;
    }
    return String(Number(value.toPrecision(3)));
  };

  // An element with attributes; children are nodes, or text that stays text.
  ELB.el = function (tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // A box with its label; `change` is told whether it is checked.
  ELB.checkbox = function (text, checked, change) {
    const input = ELB.el("input", { type: "checkbox" });
    input.checked = checked;
    input.addEventListener("change", () => change(input.checked));
    return ELB.el("label", {}, input, text);
  };

  ELB.data = function (id) {
    const node = document.getElementById(id);
    return node ? JSON.parse(node.textContent) : null;
  };

  ELB.say = function (id, text) {
    const node = document.getElementById(id);
    if (node && node.textContent !== text) node.textContent = text;
  };

  // A phone: columns of fixed width would leave no room for the others.
  ELB.narrow = () => window.innerWidth <= 700;

  // Says what is beyond the right edge of `scroller`: fades the edge of `frame` and, before it, names the columns (`heads()`) that are there on
  // a button that goes to them. The button keeps its place while one scrolls.
  ELB.further = function (scroller, frame, heads) {
    const button = ELB.el("button", { type: "button", class: "further", hidden: true });
    if (heads) frame.before(button);
    button.addEventListener("click", () => scroller.scrollBy({ left: 0.8 * scroller.clientWidth }));
    let waiting = 0;
    function look() {
      const end = scroller.getBoundingClientRect().right;
      const beyond = heads ? heads().filter((head) => head.getBoundingClientRect().right > end + 2) : [];
      const names = beyond.map((head) => head.textContent.replace(/\s*\[.*?\]/g, "").trim()).filter(Boolean);
      const more = scroller.scrollWidth - scroller.clientWidth - scroller.scrollLeft > 2;
      frame.classList.toggle("more", more);
      button.hidden = scroller.scrollWidth - scroller.clientWidth <= 2;
      button.classList.toggle("spent", !more);
      if (more) button.textContent = `${beyond.length} more column${beyond.length === 1 ? "" : "s"}: ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""} →`;
    }
    const soon = () => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(look);
    };
    scroller.addEventListener("scroll", soon, { passive: true });
    const sizes = new ResizeObserver(soon);
    [scroller, ...scroller.children].forEach((node) => sizes.observe(node));
  };

  function show(list, base, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = ({ title, kind, more }) => words.every((word) => `${title} ${kind} ${more}`.toLowerCase().includes(word));
    const found = words.length ? (ELB.index || []).filter(fits) : [];
    const rank = (entry) => (entry.title.toLowerCase().startsWith(words[0]) ? 0 : 1);
    found.sort((a, b) => rank(a) - rank(b));
    list.replaceChildren(
      ...found.slice(0, 12).map((entry) =>
        ELB.el("li", {}, ELB.el("a", { href: base + entry.url }, entry.title, ELB.el("small", {}, `${entry.kind} · ${entry.more}`)))
      )
    );
    if (words.length && !found.length) list.append(ELB.el("li", { class: "note" }, "nothing found"));
    list.hidden = !words.length;
    ELB.say("search-status", words.length ? `${found.length} found` : "");
  }

  function search() {
    const box = document.querySelector(".search");
    const input = box.querySelector("input");
    const list = box.querySelector(".results");
    input.addEventListener("input", () => show(list, box.dataset.base, input.value));
    box.addEventListener("keydown", (event) => {
      const links = [...list.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      if (event.key === "Escape") {
        list.hidden = true;
        input.focus();
      } else if (event.key === "ArrowDown" && links.length) {
        links[Math.min(at + 1, links.length - 1)].focus();
        event.preventDefault();
      } else if (event.key === "ArrowUp" && at >= 0) {
        (at === 0 ? input : links[at - 1]).focus();
        event.preventDefault();
      } else if (event.key === "Enter" && document.activeElement === input && links.length) {
        links[0].click();
      }
    });
    document.addEventListener("click", (event) => {
      if (!box.contains(event.target)) list.hidden = true;
    });
  }

  function closeMenus(event) {
    for (const menu of document.querySelectorAll(".controls details[open]")) {
      if (event.type === "keydown" ? event.key === "Escape" : !menu.contains(event.target)) menu.open = false;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    search();
    ELB.further(document.querySelector(".top nav"), document.querySelector(".top nav"));
    for (const box of document.querySelectorAll(".scroll")) ELB.further(box, box, () => [...box.querySelectorAll("thead tr:last-child th")]);
    const toggle = document.getElementById("theme");
    const label = () => toggle.setAttribute("aria-label", document.documentElement.dataset.theme === "dark" ? "Light theme" : "Dark theme");
    toggle.addEventListener("click", ELB.toggleTheme);
    document.addEventListener("elb-theme", label);
    label();
    document.addEventListener("click", closeMenus);
    document.addEventListener("keydown", closeMenus);
  });
})();
