"""The page that compares methods across tasks: by family, and all tasks together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from elboard.results.board.across import Across, gather, summary
from elboard.results.board.site.data import digits
from elboard.results.board.site.embed import embedded
from elboard.results.board.site.model import Model, method_url, task_url
from elboard.results.board.site.pages import Page
from elboard.results.stats import studentized

BUDGET = "lite"
NAMES = {"mean_rank": "mean rank ↓", "win_rate": "win rate ↑", "iqm": "IQM ↑", "elo": "Elo ↑"}


def compare_page(model: Model) -> Iterator[Page]:
    """One page: a table of methods by tasks, of which the reader takes a part."""
    boards = [board for of_task in model.boards_of.values() for board in of_task]
    found, every = gather(boards, BUDGET), gather(boards, BUDGET, least=1)
    alone = [{"label": label, "task": every.on(label)[0]} for label in every.methods if label not in found.methods]
    names = {row.label: row.method for board in boards for row in board.rows}
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
        "values": [[[digits(value) for value in runs[~np.isnan(runs)].tolist()] for runs in of_method] for of_method in found.values],
        "alone": alone,
        "parts": [{"family": name, **part} for name, part in parts.items()],
        "studentized": {size: studentized(size) for size in range(2, len(found.methods) + 1)},
    }
    tables = [{"family": name or "all tasks", "rows": _texts(found, part)} for name, part in parts.items()]
    tasks = [{"name": task, "url": task_url(task), "metric": key} for task, key in zip(found.tasks, found.metrics, strict=True)]
    context = {"tables": tables, "tasks": tasks, "data": embedded(data, "compare-data"), "names": NAMES, "budget": BUDGET}
    yield Page("compare.html", "compare.html", context, "compare.html")


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
    made = summary(values, higher)
    estimates = {name: np.stack([of.value, of.low, of.high], axis=1) for name, of in made.items()}
    return {
        "tasks": tasks,
        "methods": methods.tolist(),
        "replicates": made["mean_rank"].replicates,
        "estimates": {name: [[digits(number) for number in row] for row in rows.tolist()] for name, rows in estimates.items()},
    }


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
