// The board of one task: choice of version, budget, metrics and methods; ranks of what is chosen.
"use strict";
(function () {
  const data = ELB.data("board-data");
  const $ = (id) => document.getElementById(id);
  const state = { board: null, metric: 0, rows: new Set(), shown: new Set(), grid: null };

  const column = () => state.board.columns[state.metric];
  const mean = (row, at) => (row.cells[at] ? row.cells[at].mean : null);

  // Standings by the chosen metric among the chosen rows that are no oracles, by their ids, and Holm's p-values of their pairs behind them.
  ELB.boardRanks = function () {
    const at = state.metric;
    const rows = column().direction === "none" ? [] : state.board.rows.filter((row) => state.rows.has(row.id) && row.cells[at] && !row.oracle);
    const bySeed = rows.map((row) => new Map(row.seeds.map((seed, i) => [seed, row.values[at][i]]).filter(([, value]) => value !== null)));
    const pairs = ELB.compareRows(bySeed);
    const found = ELB.standings(pairs, rows.map((row) => mean(row, at)), column().direction === "higher");
    return { adjusted: ELB.holm(pairs.map(({ p }) => p)), ranks: new Map(rows.map((row, i) => [row.id, found[i]])) };
  };
  ELB.boardState = state;

  const saturated = (cell) => (cell.ceiling ? `; saturated: at most ${ELB.fixed(cell.ceiling, 2)}` : "");
  const toggle = (set, item, on) => set[on ? "add" : "delete"](item);

  const wanted = (row) => {
    const kind = $("tuning").value;
    return kind === "all" || (kind === "tuned") === row.tuned;
  };

  function menus() {
    const { columns, rows } = state.board;
    $("columns").replaceChildren(...columns.map((of, i) => ELB.checkbox(`${of.key} ${of.arrow}`, state.shown.has(i), (on) => (toggle(state.shown, i, on), table()))));
    const all = (on) => {
      state.rows = new Set(on ? rows.filter(wanted).map((row) => row.id) : []);
      menus();
      recompute();
    };
    const both = ELB.el("div", { class: "both" }, ELB.el("button", { type: "button" }, "All"), ELB.el("button", { type: "button" }, "None"));
    both.children[0].addEventListener("click", () => all(true));
    both.children[1].addEventListener("click", () => all(false));
    const boxes = rows.filter(wanted).map((row) => ELB.checkbox(row.label, state.rows.has(row.id), (on) => (toggle(state.rows, row.id, on), recompute())));
    $("methods").replaceChildren(both, ...boxes);
    $("metric").replaceChildren(...columns.map((of, i) => (of.direction === "none" ? null : ELB.el("option", { value: i, selected: i === state.metric }, `${of.key} ${of.arrow}`))).filter(Boolean));
  }

  const said = {
    top: "not significantly worse than any, and told from those known to be worse",
    worse: "significantly worse than at least one",
    undecided: "not told from the best, nor from those known to be worse",
  };

  function rank(row) {
    const at = state.ranks.get(row.id);
    const text = !at ? "–" : at.state === "undecided" ? at.state : at.low === at.high ? String(at.low) : `${at.low}–${at.high}`;
    const range = at && at.low !== null ? ` (${at.low}–${at.high} of those compared)` : "";
    return ELB.el("span", { class: `rank ${at ? at.state : "undecided"}`, title: at ? said[at.state] + range : null, "data-rank": text }, text);
  }

  // Where a row sorts by rank: undecided ones last, where ranges begin alike the narrower one first.
  const placed = (row) => {
    const at = state.ranks.get(row.id);
    return at && at.state !== "undecided" ? at.low + at.high / 1e6 : null;
  };

  function name(row) {
    const failed = row.failed ? ELB.el("span", { class: "note" }, ` ${row.failed} failed`) : null;
    return ELB.el("span", { title: row.label }, ELB.el("a", { href: `../${row.url}` }, row.label), failed);
  }

  function columns() {
    const frozen = !ELB.narrow();
    const metrics = state.board.columns.map((metric, i) =>
      ELB.column(`${metric.name}${metric.parameters ? ` [${metric.parameters}]` : ""} ${metric.arrow}`, `m${i}`, {
        hint: [metric.title, metric.unit, metric.note].filter(Boolean).join("; "),
        visible: state.shown.has(i),
        hozAlign: "right",
        headerHozAlign: "right",
        ...(frozen ? { minWidth: 110, maxWidth: 190 } : { width: 120 }),
        headerSortStartingDir: metric.direction === "higher" ? "desc" : "asc",
        cssClass: i === state.metric ? "best wrap" : "wrap",
        sorter: ELB.numeric((row) => mean(row, i)),
        formatter: ELB.of((row) => ELB.el("span", { title: row.cells[i] ? `n = ${row.cells[i].n}; ${row.cells[i].mean}${saturated(row.cells[i])}` : null }, ELB.number(row.cells[i]))),
      })
    );
    const cost = $("cost").value;
    const n = ELB.column("n", "n", { hint: "finished runs", width: 56, hozAlign: "right", headerHozAlign: "right", sorter: ELB.numeric((row) => row.seeds.length), formatter: ELB.of((row) => String(row.seeds.length)) });
    const named = { cssClass: "wrap", variableHeight: true, formatter: ELB.of(name) };
    return [
      ELB.column("Rank", "rank", { width: frozen ? 98 : 78, frozen, hozAlign: "center", headerHozAlign: "center", sorter: ELB.numeric((row) => placed(row)), formatter: ELB.of(rank) }),
      ELB.column("Method", "label", { frozen, ...(frozen ? { minWidth: 150, maxWidth: 300 } : { width: 112 }), ...named }),
      ...(frozen ? [n, ...metrics] : [...metrics, n]),
      ELB.column(data.costs[cost].filter(Boolean).join(", "), "cost", { hint: "mean over the runs", hozAlign: "right", headerHozAlign: "right", minWidth: 90, maxWidth: 130, sorter: ELB.numeric((row) => row.cost[cost]), formatter: ELB.of((row) => ELB.short(row.cost[cost])) }),
      ELB.column("Options", "tuning", { hint: "how the options were found", minWidth: 110, maxWidth: 200, cssClass: "wrap", variableHeight: true }),
      ELB.column("Trust", "badge", { hint: "the least trusted of the records behind the row", width: 112, formatter: ELB.chip("badge") }),
    ];
  }

  const visible = (row) => state.rows.has(row.id) && row.label.toLowerCase().includes($("filter").value.trim().toLowerCase());

  async function table() {
    const sort = [{ column: `m${state.metric}`, dir: column().direction === "higher" ? "desc" : "asc" }];
    if (state.grid) {
      state.grid.setColumns(columns());
      state.grid.replaceData(state.board.rows);
      state.grid.setSort(sort);
    } else {
      state.grid = await ELB.grid($("board"), { data: state.board.rows, columns: columns(), index: "id", labelledby: "board-caption", initialSort: sort });
    }
    state.grid.setFilter(visible);
  }

  function charts() {
    const at = state.metric;
    const { key, direction } = column();
    const chosen = state.board.rows.filter((row) => state.rows.has(row.id) && row.cells[at]);
    const sign = direction === "higher" ? -1 : 1;
    chosen.sort((a, b) => sign * (mean(a, at) - mean(b, at)));
    const rows = chosen.map((row) => ({ label: row.label, cell: row.cells[at], values: row.values[at].filter((value) => value !== null) }));
    ELB.forest($("forest"), rows, key);
    const cost = $("cost").value;
    const points = chosen.filter((row) => row.cost[cost] > 0).map((row) => ({ label: row.label, cost: row.cost[cost], mean: mean(row, at), cell: row.cells[at] }));
    ELB.scatter($("scatter"), points, ELB.pareto(points, direction === "higher"), data.costs[cost].filter(Boolean).join(", "), key);
  }

  function recompute() {
    const { adjusted, ranks } = ELB.boardRanks();
    state.ranks = ranks;
    const found = adjusted.filter((p) => p !== null && p <= 0.05).length;
    const tested = adjusted.filter((p) => p !== null).length;
    const top = [...ranks.values()].filter((at) => at.state === "top").length;
    const rows = `${state.rows.size} of ${state.board.rows.length} rows, ranked by ${column().key}`;
    ELB.say("status", `${rows}: ${tested} of ${adjusted.length} pairs tested, ${found} separated (moderated t, Holm, 5 %), ${top} on top.`);
    $("board").dataset.adjusted = JSON.stringify(adjusted);
    table();
    charts();
  }

  function load(at) {
    state.board = data.boards[at];
    state.metric = Math.max(0, state.board.columns.findIndex((of) => of.key === state.board.primary));
    state.shown = new Set(state.board.columns.flatMap((of, i) => (of.shown ? [i] : [])));
    state.rows = new Set(state.board.rows.filter(wanted).map((row) => row.id));
    const known = Object.keys(data.costs).filter((name) => state.board.rows.some((row) => row.cost[name] > 0));
    const costs = known.length ? known : ["wall_s"];
    const before = $("cost").value;
    $("cost").replaceChildren(...costs.map((name) => ELB.el("option", { value: name, selected: name === before }, data.costs[name][0])));
    ELB.say("varies", state.board.varies);
    menus();
    recompute();
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!data || !data.boards.length) return;
    $("controls").hidden = false;
    $("which").addEventListener("change", () => load(Number($("which").value)));
    $("tuning").addEventListener("change", () => load(Number($("which").value)));
    $("metric").addEventListener("change", () => {
      state.metric = Number($("metric").value);
      state.shown.add(state.metric);
      menus();
      recompute();
    });
    $("cost").addEventListener("change", recompute);
    $("filter").addEventListener("input", () => state.grid && state.grid.setFilter(visible));
    load(0);
  });
})();
