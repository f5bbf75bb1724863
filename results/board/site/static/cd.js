// Critical-difference diagram: methods on the axis of mean ranks, bars over those that Nemenyi's test does not separate.
"use strict";
(function () {
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
    const [width, side, step] = [680, 220, 22];
    const half = Math.ceil(size / 2);
    const bars = found.groups.filter((group) => group.length > 1);
    const axis = 64;
    const base = axis + 18 + bars.length * 9;
    const height = base + half * step + 16;
    const x = (rank) => side + ((rank - 1) / (size - 1)) * (width - 2 * side);
    const significant = found.p <= 0.05;
    const label = `Critical difference ${ELB.fixed(found.distance, 2)} over ${found.tasks} tasks; Friedman p = ${found.p < 0.001 ? "below 0.001" : ELB.fixed(found.p, 3)}`;
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, style: `min-width:520px;width:100%;font-size:13.5px` });
    const line = (x1, y1, x2, y2, stroke, w) => svg.append(node("line", { x1, y1, x2, y2, style: `stroke:var(--${stroke});stroke-width:${w};stroke-linecap:round` }));
    const write = (text, at, y, anchor, fill) => svg.append(node("text", { x: at, y, "text-anchor": anchor, style: `fill:var(--${fill})` }, text));

    line(x(1), axis, x(size), axis, "line-strong", 1.5);
    for (let rank = 1; rank <= size; rank += Math.ceil(size / 12)) {
      line(x(rank), axis - 5, x(rank), axis, "line-strong", 1.5);
      write(String(rank), x(rank), axis - 10, "middle", "muted");
    }
    const reach = Math.min(found.distance, size - 1);
    line(x(1), 22, x(1 + reach), 22, "c2", 2);
    line(x(1), 18, x(1), 26, "c2", 2);
    line(x(1 + reach), 18, x(1 + reach), 26, "c2", 2);
    write(`CD = ${ELB.fixed(found.distance, 2)}${found.distance > size - 1 ? " (longer than the axis)" : ""}`, x(1), 13, "start", "muted");

    bars.forEach((group, i) => {
      const ranks = group.map((m) => found.ranks[m]);
      line(x(Math.min(...ranks)) - 4, axis + 12 + 9 * i, x(Math.max(...ranks)) + 4, axis + 12 + 9 * i, significant ? "accent" : "c8", 4);
    });
    const order = found.ranks.map((_, i) => i).sort((a, b) => found.ranks[a] - found.ranks[b]);
    order.forEach((m, place) => {
      const left = place < half;
      const y = base + step * (left ? place : size - 1 - place) + 10;
      const end = left ? side - 12 : width - side + 12;
      line(x(found.ranks[m]), axis, x(found.ranks[m]), y, "line-strong", 1);
      line(x(found.ranks[m]), y, end, y, "line-strong", 1);
      write(`${ELB.cut(labels[m], 23)} ${ELB.fixed(found.ranks[m], 2)}`, left ? end - 5 : end + 5, y + 4, left ? "end" : "start", "text");
    });
    const note = `${label}. ${significant ? "Bars join methods that are not separated." : "No difference is shown at 5 %, whatever the bars."}`;
    host.replaceChildren(svg, ELB.el("p", { class: "note" }, note));
  };
})();
