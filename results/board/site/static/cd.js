// Critical-difference diagram: methods on the axis of mean ranks, bars over those that Nemenyi's test does not separate.
"use strict";
(function () {
  const { LETTER, LINE } = ELB;
  const SPACE = "http://www.w3.org/2000/svg";

  function node(tag, attributes, text) {
    const made = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  ELB.criticalDifference = function (host, labels, table, quantile) {
    const found = ELB.across.criticalDifference(table, quantile);
    if (!found) {
      host.replaceChildren(ELB.el("p", { class: "note" }, "Needs two tasks on which all chosen methods have runs."));
      return;
    }
    const size = labels.length;
    const width = Math.min(760, Math.max(300, host.clientWidth || 680));
    const narrow = width < 480; // all names at the left then
    const side = Math.round(width * (narrow ? 0.5 : 0.33));
    const half = narrow ? size : Math.ceil(size / 2);
    const bars = found.groups.filter((group) => group.length > 1);
    const axis = 64;
    const base = axis + 18 + bars.length * 9;
    const order = found.ranks.map((_, i) => i).sort((a, b) => found.ranks[a] - found.ranks[b]);
    const letters = Math.floor((side - 20) / LETTER);
    const text = order.map((m) => ELB.fold(`${labels[m]} ${ELB.fixed(found.ranks[m], 2)}`, letters));
    const below = (places) => places.reduce((tops, place) => [...tops, tops[tops.length - 1] + LINE * text[place].length + 7], [base]);
    const first = [...order.keys()].slice(0, half);
    const second = [...order.keys()].slice(half).reverse();
    const [tops, others] = [below(first), below(second)];
    const height = Math.max(...tops, ...others) + 9;
    const end = width - (narrow ? 14 : side);
    const x = (rank) => side + ((rank - 1) / (size - 1)) * (end - side);
    const significant = found.p <= 0.05;
    const label = `Critical difference ${ELB.fixed(found.distance, 2)} over ${found.tasks} tasks; Friedman p = ${found.p < 0.001 ? "below 0.001" : ELB.fixed(found.p, 3)}`;
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, style: "width:100%;font-size:12px" });
    const line = (x1, y1, x2, y2, stroke, w) => svg.append(node("line", { x1, y1, x2, y2, style: `stroke:var(--${stroke});stroke-width:${w};stroke-linecap:round` }));
    const write = (words, at, y, anchor, fill) => svg.append(node("text", { x: at, y, "text-anchor": anchor, style: `fill:var(--${fill})` }, words));

    line(x(1), axis, x(size), axis, "line-strong", 1.5);
    for (let rank = 1; rank <= size; rank += Math.ceil(size / (narrow ? 6 : 12))) {
      line(x(rank), axis - 5, x(rank), axis, "line-strong", 1.5);
      write(String(rank), x(rank), axis - 10, "middle", "muted");
    }
    const reach = Math.min(found.distance, size - 1);
    line(x(1), 22, x(1 + reach), 22, "c2", 2);
    line(x(1), 18, x(1), 26, "c2", 2);
    line(x(1 + reach), 18, x(1 + reach), 26, "c2", 2);
    write(`CD = ${ELB.fixed(found.distance, 2)}${found.distance > size - 1 ? " (longer than the axis)" : ""}`, narrow ? end : x(1), 13, narrow ? "end" : "start", "muted");

    bars.forEach((group, i) => {
      const ranks = group.map((m) => found.ranks[m]);
      line(x(Math.min(...ranks)) - 4, axis + 12 + 9 * i, x(Math.max(...ranks)) + 4, axis + 12 + 9 * i, significant ? "accent" : "c8", 4);
    });
    const name = (place, top, left) => {
      const [at, y, stop] = [x(found.ranks[order[place]]), top + 10, left ? side - 12 : end + 12];
      line(at, axis, at, y, "line-strong", 1);
      line(at, y, stop, y, "line-strong", 1);
      text[place].forEach((words, i) => write(words, left ? stop - 5 : stop + 5, y + 4 + LINE * i, left ? "end" : "start", "text"));
    };
    first.forEach((place, i) => name(place, tops[i], true));
    second.forEach((place, i) => name(place, others[i], false));
    const note = `${label}. ${significant ? "Bars join methods that are not separated." : "No difference is shown at 5 %, whatever the bars."}`;
    host.replaceChildren(svg, ELB.el("p", { class: "note" }, note));
  };
})();
