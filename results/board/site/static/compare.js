// Methods across tasks: the reader takes tasks and methods, everything is computed again.
"use strict";
(function () {
  const $ = (id) => document.getElementById(id);
  const data = ELB.data("compare-data");
  const [REPLICATES, FEWEST, WORK] = [1000, 200, 2e9]; // WORK: comparisons of two runs that a reader can wait for
  const FEW = "; too many runs for those of win rate and Elo";
  const state = { tasks: [], methods: [], grid: null, turn: 0 };
  const names = ["mean_rank", "win_rate", "iqm", "elo"];

  function signed() {
    return state.methods.map((m) => state.tasks.map((t) => data.values[m][t].map((value) => (data.tasks[t].higher ? value : -value))));
  }

  function statistics(table, scores, pairs = true) {
    const cheap = { mean_rank: ELB.across.meanRank(table), iqm: ELB.across.iqm(scores) };
    return pairs ? { ...cheap, win_rate: ELB.across.winRate(table), elo: ELB.across.elo(table) } : cheap;
  }

  // Intervals of the part as it was published, where the choice is that part.
  function published() {
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    return data.parts.find((part) => same(part.tasks, state.tasks) && same(part.methods, state.methods));
  }

  // Intervals by resampling, in slices of time so that the page stays alive; `done` gets {name: [[low, high], ...]}.
  function intervals(turn, done) {
    const table = signed();
    const scores = ELB.across.normalise(table);
    const random = ELB.across.random(0);
    const runs = Math.max(...table.flat().map((list) => list.length));
    const affordable = Math.floor(WORK / ((table.length * runs) ** 2 * state.tasks.length));
    const pairs = affordable >= FEWEST;
    const replicates = pairs ? Math.min(REPLICATES, affordable) : REPLICATES;
    const kept = Object.fromEntries(names.map((name) => [name, []]));
    function slice() {
      const end = performance.now() + 25;
      while (performance.now() < end && kept.mean_rank.length < replicates) {
        const found = statistics(ELB.across.resample(table, random), ELB.across.resample(scores, random), pairs);
        names.forEach((name) => found[name] && kept[name].push(found[name]));
      }
      if (turn !== state.turn) return;
      if (kept.mean_rank.length < replicates) setTimeout(slice);
      else done(Object.fromEntries(names.map((name) => [name, kept[name].length ? state.methods.map((_, m) => [0.025, 0.975].map((q) => ELB.across.quantile(kept[name].map((values) => values[m]), q))) : null])), replicates);
    }
    slice();
  }

  function text(name, value, bounds) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const places = name === "elo" ? 0 : 2;
    const round = (number) => ELB.fixed(number, places).replace(/^-(0\.?0*)$/, "$1");
    return bounds && Number.isFinite(bounds[0]) ? `${round(value)} [${round(bounds[0])}, ${round(bounds[1])}]` : round(value);
  }

  function rows(values, bounds) {
    const table = signed();
    const reference = table[state.methods.indexOf(Number($("reference").value))];
    return state.methods.map((m, i) => ({
      id: m,
      label: data.methods[m].label,
      url: data.methods[m].url,
      tasks: state.tasks.filter((t) => data.values[m][t].length).length,
      beats: reference && table[i] !== reference ? ELB.across.improvement(table[i], reference) : null,
      ...Object.fromEntries(names.map((name) => [name, values[name] ? values[name][i] : null])),
      bounds: Object.fromEntries(names.map((name) => [name, bounds && bounds[name] ? bounds[name][i] : null])),
    }));
  }

  async function show(values, bounds) {
    const content = rows(values, bounds);
    const number = (title, name, down, hint) =>
      ELB.column(title, name, { hint, hozAlign: "right", headerHozAlign: "right", minWidth: 158, headerSortStartingDir: down ? "asc" : "desc", sorter: ELB.numeric((row) => row[name]), formatter: ELB.text((row) => text(name, row[name], row.bounds[name])) });
    const narrow = ELB.narrow();
    const tasks = ELB.column("Tasks", "tasks", { width: 80, hozAlign: "right", headerHozAlign: "right", formatter: ELB.text((row) => `${row.tasks} of ${state.tasks.length}`) });
    const columns = [
      ELB.column("Method", "label", { ...(narrow ? { width: 150 } : { minWidth: 200 }), cssClass: "wrap", variableHeight: true, formatter: ELB.link("label") }),
      ...(narrow ? [] : [tasks]),
      number("Mean rank ↓", "mean_rank", true),
      number("Win rate ↑", "win_rate"),
      number("IQM ↑", "iqm", false, "interquartile mean of normalised scores"),
      number("Elo ↑", "elo"),
      ...(narrow ? [tasks] : []),
      ELB.column("P(beats reference)", "beats", { minWidth: 110, hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc", sorter: ELB.numeric((row) => row.beats), formatter: ELB.text((row) => (row.beats === null || Number.isNaN(row.beats) ? "–" : ELB.fixed(row.beats, 2))) }),
    ];
    if (state.grid) {
      await state.grid.replaceData(content);
    } else {
      state.grid = await ELB.grid($("compare"), { data: content, index: "id", labelledby: "compare-caption", layout: "fitColumns", columns, initialSort: [{ column: "mean_rank", dir: "asc" }] });
    }
  }

  function pictures() {
    const table = signed();
    const labels = state.methods.map((m) => data.methods[m].label);
    ELB.criticalDifference($("cd"), labels, table, data.studentized[labels.length]);
    const thresholds = Array.from({ length: 101 }, (_, i) => i / 100);
    const profile = ELB.across.profile(ELB.across.normalise(table), thresholds);
    const legend = ELB.legend($("profile"), labels);
    const draw = () => ({
      grid: { left: 34, right: 20, top: 14, bottom: 46 + legend.height, containLabel: true },
      legend: legend.options,
      tooltip: { formatter: (item) => ELB.tip(item.seriesName, `above ${item.value[0]}: ${ELB.short(item.value[1])} of the runs`) },
      xAxis: ELB.axis({ type: "value", min: 0, max: 1, name: "normalised score", nameGap: 26 }),
      yAxis: ELB.axis({ type: "value", min: 0, max: 1, name: "share of runs above it", nameGap: 34 }),
      series: labels.map((name, i) => ({ name, type: "line", step: "end", showSymbol: false, symbolSize: 6, ...ELB.series(i), lineStyle: { width: 2, color: ELB.series(i).color, type: i < 8 ? "solid" : "dashed" }, itemStyle: { color: ELB.series(i).color }, data: thresholds.map((at, j) => [at, profile[i][j]]) })),
    });
    ELB.chart($("profile"), "Performance profiles of the chosen methods", draw, 310 + legend.height);
  }

  async function recompute() {
    state.turn += 1;
    const turn = state.turn;
    leftOut();
    const enough = state.methods.length >= 2 && state.tasks.length >= 2;
    $("result").hidden = !enough;
    if (!enough) {
      ELB.say("status", "Choose at least two methods and two tasks.");
      return;
    }
    const table = signed();
    const values = statistics(table, ELB.across.normalise(table));
    const part = published();
    const what = `${state.methods.length} methods on ${state.tasks.length} tasks`;
    const partial = state.methods.some((m) => state.tasks.some((t) => !data.values[m][t].length));
    const warning = partial ? " Some methods lack some tasks: mean ranks and IQM then compare unlike things; Elo and win rate are the better guide." : "";
    const given = part && Object.fromEntries(names.map((name) => [name, part.estimates[name] ? part.estimates[name].map((of) => of.slice(1)) : null]));
    await show(values, given);
    pictures();
    if (part) {
      ELB.say("status", `${what}; 95 % intervals from ${part.replicates} resamples of the seeds${given.win_rate.some((of) => Number.isFinite(of[0])) ? "" : FEW}.${warning}`);
    } else {
      ELB.say("status", `${what}; computing intervals …`);
      intervals(turn, async (bounds, replicates) => {
        await show(values, bounds);
        ELB.say("status", `${what}; 95 % intervals from ${replicates} resamples of the seeds, computed in this browser${bounds.win_rate ? "" : FEW}.${warning}`);
      });
    }
  }

  // Rows on some of the tasks that are not compared, and why.
  function leftOut() {
    const any = [...data.methods.keys()].filter((m) => !state.methods.includes(m) && state.tasks.some((t) => data.values[m][t].length));
    const lacking = (m) => state.tasks.filter((t) => !data.values[m][t].length).map((t) => data.tasks[t].name);
    const alone = data.alone.filter(({ task }) => state.tasks.some((t) => data.tasks[t].name === task));
    const rows = [
      ...any.map((m) => [data.methods[m].label, lacking(m).length ? `not on ${lacking(m).join(", ")}` : "can be added under Methods"]),
      ...alone.map(({ label, task }) => [label, `on ${task} alone`]),
    ];
    $("left-out").hidden = !rows.length;
    ELB.say("left-out-count", `${rows.length} row${rows.length === 1 ? " is" : "s are"} left out`);
    $("left-out-rows").replaceChildren(...rows.map(([label, why]) => ELB.el("li", {}, `${label}: `, ELB.el("span", { class: "note" }, why))));
  }

  // A box for each of `items` (indices), by which they come into state[which] and leave it.
  function boxes(which, items, label) {
    const change = (item, on) => {
      state[which] = items.filter((other) => (other === item ? on : state[which].includes(other)));
      reference();
      recompute();
    };
    $(which).replaceChildren(...items.map((item) => ELB.checkbox(label(item), state[which].includes(item), (on) => change(item, on))));
  }

  function reference() {
    const before = $("reference").value;
    $("reference").replaceChildren(...state.methods.map((m) => ELB.el("option", { value: m, selected: String(m) === before }, data.methods[m].label)));
  }

  function load() {
    const part = data.parts[Number($("family").value)];
    [state.tasks, state.methods] = [part.tasks, part.methods];
    boxes("tasks", part.tasks, (t) => data.tasks[t].name);
    const any = [...data.methods.keys()].filter((m) => part.tasks.some((t) => data.values[m][t].length));
    boxes("methods", any, (m) => data.methods[m].label);
    reference();
    recompute();
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!data || !data.parts.length) return;
    $("family").replaceChildren(...data.parts.map((part, i) => ELB.el("option", { value: i }, part.family || "all tasks")));
    const single = data.parts.findIndex((part) => part.family);
    $("family").value = String(Math.max(single, 0));
    $("controls").hidden = false;
    document.querySelectorAll(".fallback").forEach((node) => (node.hidden = true));
    $("family").addEventListener("change", load);
    $("reference").addEventListener("change", recompute);
    load();
  });
})();
