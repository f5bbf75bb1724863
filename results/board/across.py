"""Across tasks: one table of the primary metrics of several boards, and what it says of the methods as a whole."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elboard.bench.metrics.conventions import convention
from elboard.results.board.build import Board
from elboard.results.stats import Estimate, bootstrap, elo, iqm, mean_rank, normalise, win_rate

REPLICATES = 2_000
WORK = 60_000_000  # comparisons of two runs; with many methods there are fewer replicates
FEWEST = 200  # replicates that an interval needs


@dataclass(frozen=True)
class Across:
    """Primary metrics of ``methods`` (rows' labels) on ``tasks``: ``values`` (methods, tasks, repetitions), NaN where absent."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    values: np.ndarray
    higher: np.ndarray


def gather(boards: Sequence[Board], budget: str) -> Across:
    """The current boards of ``budget`` side by side. Rows are those that stand on at least two of them; a method with a configuration of
    its own is a method of its own. Repetitions are in the order of their seeds."""
    chosen = [board for board in boards if board.budget == budget and board.current and board.rows]
    found: dict[str, dict[int, list[float]]] = {}
    for t, board in enumerate(chosen):
        for row in board.rows:
            values = row.values.get(board.primary)
            if values:
                found.setdefault(row.label, {})[t] = [values[seed] for seed in sorted(values)]
    kept = {label: of for label, of in sorted(found.items()) if len(of) >= 2}
    used = sorted({t for of in kept.values() for t in of})
    depth = max((len(values) for of in kept.values() for values in of.values()), default=0)
    array = np.full((len(kept), len(used), depth), np.nan)
    for m, of in enumerate(kept.values()):
        for t, values in of.items():
            array[m, used.index(t), : len(values)] = values
    higher = np.array([convention(chosen[t].primary).direction == "higher" for t in used], dtype=bool)
    return Across(tuple(kept), tuple(chosen[t].task for t in used), array, higher)


def complete(across: Across) -> list[Across]:
    """Parts in which every method stands on every task: methods are grouped by the tasks that they have, which is what ranks need."""
    there = ~np.isnan(across.values).all(axis=2)
    parts = []
    for pattern in sorted({tuple(row) for row in there}, reverse=True):
        rows = [m for m in range(len(there)) if tuple(there[m]) == pattern]
        columns = np.flatnonzero(pattern)
        if len(rows) >= 2 and len(columns) >= 2:
            tasks = tuple(across.tasks[t] for t in columns)
            values = across.values[np.ix_(rows, columns)]
            parts.append(Across(tuple(across.methods[m] for m in rows), tasks, values, across.higher[columns]))
    return parts


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
