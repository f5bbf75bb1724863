// Charts in the colours of the page; they are drawn again when the theme changes.
"use strict";
(function () {
  const symbols = ["circle", "rect", "triangle", "diamond", "roundRect", "pin", "arrow"];
  const drawn = new Map();
  const [LETTER, LINE] = [7.5, 15]; // pixels of a letter of a label, rather too many, and of its line
  Object.assign(ELB, { LETTER, LINE });

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  ELB.series = (i) => ({ color: colour(`c${(i % 8) + 1}`), symbol: symbols[i % symbols.length] });

  // Options that all charts share; tooltips are built of nodes, so that names stay text.
  function common(label) {
    const text = { color: colour("muted"), fontFamily: "inherit", fontSize: 12, lineHeight: LINE };
    return {
      aria: { enabled: true, label: { description: label } },
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
      tooltip: {
        trigger: "item",
        confine: true,
        backgroundColor: colour("surface"),
        borderColor: colour("line-strong"),
        textStyle: { color: colour("text"), fontSize: 13 },
      },
      legend: { type: "scroll", bottom: 0, textStyle: text, pageTextStyle: text, inactiveColor: colour("line-strong") },
    };
  }

  ELB.axis = function (more) {
    return {
      nameLocation: "middle",
      nameTextStyle: { color: colour("muted"), fontSize: 12, lineHeight: LINE },
      axisLabel: { color: colour("muted"), hideOverlap: true, formatter: more.type === "category" ? undefined : ELB.short },
      axisLine: { lineStyle: { color: colour("line-strong") } },
      axisTick: { show: false },
      splitLine: { lineStyle: { color: colour("line") } },
      ...more,
    };
  };

  ELB.tip = (...lines) => ELB.el("div", {}, ...lines.map((line, i) => ELB.el(i ? "div" : "strong", {}, line)));

  // Always anew: a chart that is drawn again lays labels out from where they were moved to.
  function render(host) {
    const { make, label } = drawn.get(host);
    const before = echarts.getInstanceByDom(host);
    if (before) before.dispose();
    if (!host.clientWidth) return; // hidden
    const [shared, options] = [common(label), make()];
    const chart = echarts.init(host, null, { renderer: "svg" });
    chart.setOption({ ...shared, ...options, tooltip: { ...shared.tooltip, ...options.tooltip }, legend: { ...shared.legend, ...options.legend } });
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", label);
  }

  // Draw the options that `make` returns into `host`, now and whenever the theme or the width changes.
  ELB.chart = function (host, label, make, height) {
    if (!host) return;
    if (height) host.style.height = `${height}px`;
    drawn.set(host, { make, label });
    render(host);
  };

  document.addEventListener("elb-theme", () => [...drawn.keys()].forEach(render));
  let waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => [...drawn.keys()].forEach(render));
  });

  // `text` in lines of at most `length` letters, broken at spaces; a longer word behind its marks, or anywhere. Nothing is left out.
  ELB.fold = function (text, length) {
    const lines = [""];
    const parts = (word) => (word.length <= length ? [word] : word.match(/[^-_,/]*[-_,/]?/g).flatMap((part) => part.match(new RegExp(`.{1,${length}}`, "gs")) || []));
    for (const word of text.split(" ")) {
      parts(word).forEach((part, i) => {
        const last = lines[lines.length - 1];
        const line = last + (i || !last ? "" : " ") + part;
        if (line.length <= length) lines[lines.length - 1] = line;
        else lines.push(part);
      });
    }
    return lines;
  };
  const folded = (text, length) => ELB.fold(text, length).join("\n");

  // A legend below a chart of `host`'s width that shows all of `names` whole, and the height that it takes.
  ELB.legend = function (host, names) {
    const room = host.clientWidth - 10;
    const length = Math.max(12, Math.floor((room - 50) / LETTER));
    let [height, left, tallest] = [0, 0, 0];
    for (const lines of names.map((name) => ELB.fold(name, length))) {
      const width = 45 + LETTER * Math.max(...lines.map((line) => line.length));
      if (width > left) {
        height += tallest && tallest + 10;
        [left, tallest] = [room, 0];
      }
      left -= width;
      tallest = Math.max(tallest, LINE * lines.length);
    }
    return { height: height + tallest, options: { type: "plain", bottom: 0, data: names, formatter: (name) => folded(name, length) } };
  };

  function whisker(params, api) {
    const y = api.coord([0, api.value(0)])[1];
    const [low, high] = [api.coord([api.value(1), 0])[0], api.coord([api.value(2), 0])[0]];
    const style = { stroke: api.visual("color"), lineWidth: 2, fill: "none" };
    const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
    return { type: "group", children: [line(low, y, high, y), line(low, y - 4, low, y + 4), line(high, y - 4, high, y + 4)] };
  }

  // Means with their intervals and the seeds behind them. rows: [{label, cell, values}], best first.
  ELB.forest = function (host, rows, axisName) {
    const narrow = host.clientWidth < 480;
    const labels = rows.map((row) => folded(row.label, narrow ? 22 : 34));
    const lines = Math.max(1, ...labels.map((label) => label.split("\n").length));
    const named = folded(axisName, narrow ? 24 : 60);
    const make = () => ({
      grid: { left: 8, right: 18, top: 8, bottom: 33 + LINE * named.split("\n").length, containLabel: true },
      legend: { show: false },
      xAxis: ELB.axis({ type: "value", scale: true, name: named, nameGap: 30, splitNumber: narrow ? 3 : 5 }),
      yAxis: ELB.axis({
        type: "category",
        inverse: true,
        data: labels,
        splitLine: { show: false },
        axisLabel: { color: colour("text"), interval: 0, fontSize: 12, lineHeight: LINE },
      }),
      series: [
        {
          type: "custom",
          silent: true,
          itemStyle: { color: colour("c1") },
          renderItem: whisker,
          encode: { x: [1, 2], y: 0 },
          data: rows.map((row, i) => [i, row.cell.low, row.cell.high]).filter((item) => item[1] !== null),
        },
        {
          type: "scatter",
          symbolSize: 6,
          itemStyle: { color: colour("c8"), opacity: 0.55 },
          tooltip: { formatter: (item) => ELB.tip(rows[item.value[1]].label, `one run: ${ELB.short(item.value[0])}`) },
          data: rows.flatMap((row, i) => row.values.map((value) => [value, i])),
        },
        {
          type: "scatter",
          symbolSize: 10,
          itemStyle: { color: colour("c1") },
          tooltip: { formatter: (item) => ELB.tip(rows[item.value[1]].label, `${ELB.number(rows[item.value[1]].cell)} (n = ${rows[item.value[1]].cell.n})`) },
          data: rows.map((row, i) => [row.cell.mean, i]),
        },
      ],
    });
    ELB.chart(host, `Means and 95 % intervals of ${axisName}`, make, Math.max(160, 70 + (11 + LINE * lines) * rows.length));
  };

  // Rows that no other row beats in both cost (lower) and quality.
  ELB.pareto = function (points, higher) {
    const sorted = [...points].sort((a, b) => a.cost - b.cost || (higher ? b.mean - a.mean : a.mean - b.mean));
    let best = null;
    return sorted.filter((point) => {
      const wins = best === null || (higher ? point.mean > best : point.mean < best);
      if (wins) best = point.mean;
      return wins;
    });
  };

  // points: [{label, cost, mean, cell}].
  ELB.scatter = function (host, points, front, costName, metricName) {
    const item = (point) => ({ value: [point.cost, point.mean], point });
    const tip = { formatter: ({ data }) => ELB.tip(data.point.label, `${metricName}: ${ELB.number(data.point.cell)}`, `${costName}: ${ELB.short(data.point.cost)}`) };
    const narrow = host.clientWidth < 480;
    const label = (onFront) => ({ show: onFront || points.length <= 12, position: "top", minMargin: 2, fontSize: 11, lineHeight: 13, color: colour("text"), formatter: ({ data }) => folded(data.point.label, narrow ? 22 : 24) });
    const within = (from, to, end) => Math.max(0, 2 - from) + Math.min(0, end - 2 - to); // how far it must go so as not to be cut by the border
    const labelLayout = ({ labelRect: { x, y, width, height } }) => ({ dx: within(x, x + width, host.clientWidth), dy: within(y, y + height, host.clientHeight), moveOverlap: "shiftY", hideOverlap: true });
    const named = ELB.fold(metricName, 34);
    const make = () => ({
      grid: { left: 24 + LINE * named.length, right: 28, top: 28, bottom: 72, containLabel: true },
      legend: { data: [{ name: "other methods" }, { name: "Pareto front", icon: "diamond" }] },
      xAxis: ELB.axis({ type: "log", name: folded(`${costName} (logarithmic)`, narrow ? 36 : 60), nameGap: 30 }),
      yAxis: ELB.axis({ type: "value", scale: true, name: named.join("\n"), nameGap: 46 }),
      series: [
        { name: "other methods", type: "scatter", symbol: "circle", symbolSize: 9, itemStyle: { color: colour("c8") }, labelLayout, label: label(false), tooltip: tip, data: points.filter((point) => !front.includes(point)).map(item) },
        { name: "Pareto front", type: "line", step: "end", showSymbol: false, silent: true, lineStyle: { type: "dashed", width: 1.5, color: colour("c2") }, itemStyle: { color: colour("c2") }, data: front.map((point) => [point.cost, point.mean]) },
        { name: "Pareto front", type: "scatter", symbol: "diamond", symbolSize: 13, itemStyle: { color: colour("c2") }, labelLayout, label: label(true), tooltip: tip, data: front.map(item) },
      ],
    });
    ELB.chart(host, `${metricName} against ${costName}; on the Pareto front: ${front.map((point) => point.label).join(", ")}`, make);
  };
})();
