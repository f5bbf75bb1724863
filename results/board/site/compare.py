"""The page that compares methods across tasks: by family, and all tasks together."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from bench.metrics.conventions import convention
from results.board.across import Across, gather
from results.board.site.data import digits
from results.board.site.embed import embedded
from results.board.site.model import Model, method_url, task_url
from results.board.site.pages import Page
from results.stats import bootstrap, elo, iqm, mean_rank, normalise, win_rate

BUDGET = "lite"
REPLICATES = 2_000
WORK = 60_000_000  # comparisons of two runs; with many methods there are fewer replicates, and the page says how many
FEWEST = 200  # replicates that an interval needs
NAMES = {"mean_rank": "mean rank ↓", "win_rate": "win rate ↑", "iqm": "IQM ↑", "elo": "Elo ↑"}


def compare_page(model: Model) -> Iterator[Page]:
    """One page: a table of methods by tasks, of which the reader takes a part."""
    boards = [board for of_task in model.boards_of.values() for board in of_task if convention(board.primary).direction != "none"]
    found = gather(boards, BUDGET)
    names = {row.label: row.method for board in boards for row in board.rows}
    by_task = {board.task: board for board in boards if board.budget == BUDGET and board.current}
    families = sorted({task.split("/")[0] for task in found.tasks})
    plain = np.array([label in model.rows_of for label in found.methods], dtype=bool)
    parts = {
        name: _part(found, [t for t, task in enumerate(found.tasks) if name in ("", task.split("/")[0])], plain) for name in ["", *families]
    }
    parts = {name: part for name, part in parts.items() if part is not None}
    data = {
        "budget": BUDGET,
        "tasks": [{"name": task, "higher": bool(higher)} for task, higher in zip(found.tasks, found.higher, strict=True)],
        "methods": [{"label": label, "url": method_url(names[label])} for label in found.methods],
        "values": [[_present(values) for values in of_method] for of_method in found.values],
        "parts": [{"family": name, **part} for name, part in parts.items()],
        "studentized": {size: studentized(size) for size in range(2, len(found.methods) + 1)},
    }
    tables = [{"family": name or "all tasks", "rows": _texts(found, part)} for name, part in parts.items()]
    tasks = [{"name": task, "url": task_url(task), "metric": by_task[task].primary} for task in found.tasks]
    context = {"tables": tables, "tasks": tasks, "data": embedded(data, "compare-data"), "names": NAMES, "budget": BUDGET}
    yield Page("compare.html", "compare.html", context, "compare.html")


def _present(values: np.ndarray) -> list[float | None]:
    return [digits(value) for value in values[~np.isnan(values)].tolist()]


def _part(found: Across, tasks: list[int], plain: np.ndarray) -> dict[str, Any] | None:
    """Statistics of the ``plain`` methods that stand on all of ``tasks``, or on two at least where these are of several families.

    None where fewer than two methods or two tasks are left.
    """
    there = ~np.isnan(found.values[:, tasks]).all(axis=2)
    several = len({found.tasks[t].split("/")[0] for t in tasks}) > 1
    methods = np.flatnonzero((there.sum(1) >= 2 if several else there.all(1)) & plain)
    if len(methods) < 2 or len(tasks) < 2:
        return None
    values, higher = found.values[np.ix_(methods, tasks)], found.higher[tasks]
    estimates, replicates = _estimates(values, higher)
    return {
        "tasks": tasks,
        "methods": methods.tolist(),
        "replicates": replicates,
        "estimates": {name: [[digits(number) for number in row] for row in rows.tolist()] for name, rows in estimates.items()},
    }


def _estimates(values: np.ndarray, higher: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """Each statistic's value and interval (methods, 3) of a table (methods, tasks, seeds), and the replicates behind the intervals.

    Win rate and Elo compare every two runs: with very many runs they have no interval (NaN).
    """
    cheap = {"mean_rank": functools.partial(mean_rank, higher=higher)}
    pairs = {"win_rate": functools.partial(win_rate, higher=higher), "elo": functools.partial(elo, higher=higher)}
    found = {}
    with suppress(ValueError):  # methods that no chain of common tasks connects have no Elo
        found = {name: function(values) for name, function in pairs.items()}
    pairs = pairs if found else {"win_rate": pairs["win_rate"]}
    affordable = WORK // ((values.shape[0] * values.shape[2]) ** 2 * values.shape[1])
    few = affordable < FEWEST
    replicates = REPLICATES if few else min(REPLICATES, affordable)
    made = bootstrap(values, cheap if few else {**cheap, **pairs}, replicates)
    made["iqm"] = bootstrap(normalise(values, higher), iqm, replicates)
    estimates = {name: np.stack([of.value, of.low, of.high], axis=1) for name, of in made.items()}
    for name in pairs if few else ():
        value = found[name] if found else pairs[name](values)
        estimates[name] = np.stack([value, np.full_like(value, np.nan), np.full_like(value, np.nan)], axis=1)
    return estimates, replicates


def _texts(found: Across, part: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a part as text, best mean rank first, for readers without scripts."""
    order = sorted(range(len(part["methods"])), key=lambda m: part["estimates"]["mean_rank"][m][0])
    return [
        {
            "label": found.methods[part["methods"][m]],
            "cells": [_text(name, part["estimates"][name][m]) if name in part["estimates"] else "–" for name in NAMES],
        }
        for m in order
    ]


def _text(name: str, numbers: list[float | None]) -> str:
    places = 0 if name == "elo" else 2
    value, low, high = (None if number is None else f"{round(number, places) + 0.0:.{places}f}" for number in numbers)
    return f"{value} [{low}, {high}]" if low is not None else f"{value}"


@functools.cache
def studentized(methods: int, level: float = 0.95) -> float:
    """Quantile at ``level`` of the studentized range of ``methods`` means with infinitely many degrees of freedom.

    Its distribution is M times the integral over x of phi(x) (Phi(x) - Phi(x - q))^(M - 1), inverted by bisection. SciPy has it too, in
    ``scipy.stats``, whose import takes longer than the rest of the page.
    """
    from scipy.special import ndtr

    x = np.linspace(-9, 9, 301)  # of a smooth function that vanishes at both ends: a sum is exact to rounding
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    low, high = 0.0, 20.0
    while high - low > 1e-11:
        q = (low + high) / 2
        below = methods * np.sum(density * (ndtr(x) - ndtr(x - q)) ** (methods - 1)) * (x[1] - x[0])
        low, high = (q, high) if below < level else (low, q)
    return (low + high) / 2
