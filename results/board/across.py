"""Across tasks: one table of the metrics of several boards, and what it says of the methods as a whole."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elboard.bench.metrics.conventions import convention
from elboard.results.board.build import Board, columns_of
from elboard.results.stats import Estimate, bootstrap, elo, iqm, mean_rank, normalise, win_rate

REPLICATES = 2_000
WORK = 60_000_000  # comparisons of two runs; with many methods there are fewer replicates
FEWEST = 200  # replicates that an interval needs


@dataclass(frozen=True)
class Across:
    """One metric a task, ``metrics``, of ``methods`` (rows' labels) on ``tasks``: ``values`` (methods, tasks, repetitions), NaN where
    absent."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    values: np.ndarray
    higher: np.ndarray

    @cached_property
    def there(self) -> np.ndarray:
        """Whether a method stands on a task: (methods, tasks)."""
        return ~np.isnan(self.values).all(axis=2)

    def part(self, rows: Sequence[int], columns: Sequence[int]) -> Across:
        """Of some methods and some tasks, by their places."""
        tasks, metrics = (tuple(of[t] for t in columns) for of in (self.tasks, self.metrics))
        return Across(tuple(self.methods[m] for m in rows), tasks, metrics, self.values[np.ix_(rows, columns)], self.higher[columns])

    def on(self, method: str) -> list[str]:
        """The tasks on which ``method`` stands."""
        row = self.there[self.methods.index(method)] if method in self.methods else ()
        return [task for task, there in zip(self.tasks, row, strict=False) if there]


def gather(boards: Sequence[Board], budget: str, metric: str = "", least: int = 2) -> Across:
    """The current boards of ``budget`` side by side, of each the metric that ranks it; with ``metric`` only those that it ranks.

    Rows are those of methods, not of oracles, that stand on ``least`` of them; a method with a configuration of its own is a method of its
    own. Repetitions are in the order of their seeds.
    """
    chosen = [board for board in boards if board.budget == budget and board.current and convention(board.primary).direction != "none"]
    chosen = [board for board in chosen if not metric or columns_of((metric,), (board.primary,))]
    found: dict[str, dict[int, list[float]]] = {}
    for t, board in enumerate(chosen):
        for row in board.rows:
            values = row.values.get(board.primary)
            if values and not row.oracle:
                found.setdefault(row.label, {})[t] = [values[seed] for seed in sorted(values)]
    kept = {label: of for label, of in sorted(found.items()) if len(of) >= least}
    used = sorted({t for of in kept.values() for t in of})
    depth = max((len(values) for of in kept.values() for values in of.values()), default=0)
    array = np.full((len(kept), len(used), depth), np.nan)
    for m, of in enumerate(kept.values()):
        for t, values in of.items():
            array[m, used.index(t), : len(values)] = values
    metrics = tuple(chosen[t].primary for t in used)
    higher = np.array([convention(key).direction == "higher" for key in metrics], dtype=bool)
    return Across(tuple(kept), tuple(chosen[t].task for t in used), metrics, array, higher)


def complete(across: Across, methods: Sequence[str] = (), tasks: Sequence[str] = ()) -> list[Across]:
    """Parts in which every method stands on every task, which is what ranks need, each of two methods on two tasks at least.

    Of chosen ``tasks`` there is one part, of the methods, all or those chosen, that stand on all of these. Of chosen ``methods`` without
    tasks there is one, of the tasks on which all of them stand. Where nothing is chosen there is one for each set of tasks that is all that
    some method has, and in it every method that stands on these.
    """
    rows = [m for m, label in enumerate(across.methods) if not methods or label in methods]
    if tasks:
        patterns = [tuple(task in tasks for task in across.tasks)]
    else:
        patterns = [tuple(across.there[rows].all(0))] if methods else sorted({tuple(row) for row in across.there}, reverse=True)
    parts = []
    for columns in map(np.flatnonzero, patterns):
        kept = [m for m in rows if across.there[m, columns].all()]
        if len(kept) >= 2 and len(columns) >= 2:
            parts.append(across.part(kept, columns))
    return parts


def left_out(
    boards: Sequence[Board], budget: str, across: Across, parts: Sequence[Across], methods: Sequence[str] = (), tasks: Sequence[str] = ()
) -> dict[str, str]:
    """Why rows of ``boards`` are in none of ``parts``, by label, and why tasks of chosen ``methods`` are in none, by name.

    The rows are those chosen, or all; of chosen ``tasks`` those that stand on some of them.
    """
    used, out = {name for part in parts for name in (*part.methods, *part.tasks)}, {}
    budgets: dict[str, set[str]] = {}
    oracles = {row.label for board in boards for row in board.rows if row.oracle}
    for board in boards:
        for row in board.rows:
            budgets.setdefault(row.label, set()).add(board.budget)
    for label in sorted({*methods} or {*budgets} - used):
        on = across.on(label)
        lacking = [task for task in tasks if task not in on]
        if tasks and len(lacking) == len(tasks):
            continue
        if label in oracles:
            out[label] = "an oracle"
        elif not on:
            out[label] = "no value to compare" if budget in budgets[label] else f"at budget {', '.join(sorted(budgets[label]))} alone"
        elif lacking:
            out[label] = f"not on {', '.join(lacking)}"
        elif not methods:
            out[label] = f"on {on[0]} alone" if len(on) == 1 else f"no other method on all of {', '.join(on)}"
    if methods and not tasks:
        lacks = {task: [label for label in methods if task not in across.on(label)] for task in across.tasks}
        out |= {task: f"no {', '.join(labels)}" for task, labels in lacks.items() if 0 < len(labels) < len(methods)}
    return out


def summary(values: np.ndarray, higher: np.ndarray) -> dict[str, Estimate]:
    """Mean rank, win rate, Elo and interquartile mean of normalised scores of methods, with 95 % intervals by a stratified bootstrap over
    repetitions; tasks are held fixed.

    Win rate and Elo compare every two runs: with very many runs they have no interval (NaN). Methods that no chain of common tasks connects
    have no Elo, which is then absent.

    Args:
        values: (methods, tasks, repetitions), NaN where absent. higher: (tasks,).
    """
    pairs = {"win_rate": functools.partial(win_rate, higher=higher), "elo": functools.partial(elo, higher=higher)}
    try:
        pairs["elo"](values)
    except ValueError:
        del pairs["elo"]
    affordable = WORK // ((values.shape[0] * values.shape[2]) ** 2 * values.shape[1])
    few = affordable < FEWEST
    replicates = REPLICATES if few else min(REPLICATES, affordable)
    made = bootstrap(values, {"mean_rank": functools.partial(mean_rank, higher=higher), **({} if few else pairs)}, replicates)
    if few:
        made |= {name: Estimate(function(values), *np.full((2, len(values)), np.nan), 0) for name, function in pairs.items()}
    return made | bootstrap(normalise(values, higher), {"iqm": iqm}, replicates)
