"""Boards and families of boards as the data that the scripts read."""

from __future__ import annotations

from typing import Any

import numpy as np

from elboard.bench.metrics.conventions import convention, parse
from elboard.results.board.build import Board, Row, arrow, columns_of
from elboard.results.board.site.model import Model, method_url
from elboard.results.stats import Cell

COSTS = {
    "wall_s": ("wall-clock time", "s"),
    "train_s": ("time of training", "s"),
    "evaluate_s": ("time of evaluation", "s"),
    "cpu_s": ("processor time", "s"),
    "gpu_s": ("GPU time", "s"),
    "peak_memory_mib": ("peak memory", "MiB"),
    "parameters": ("parameters", ""),
    "flops_per_example": ("operations per training example", "FLOP"),
    "energy_j": ("energy", "J"),
}


def digits(value: float, places: int = 12) -> float | None:
    """``value`` with ``places`` significant digits, None if it is not finite."""
    return float(f"{value:.{places}g}") if np.isfinite(value) else None


def column(key: str, shown: bool) -> dict[str, Any]:
    """A metric as a column: its heading, unit and direction."""
    of, parts = convention(key), parse(key)
    name = parts.name + (f"@{parts.at}" if parts.at else "") + (f"/{parts.slice}" if parts.slice else "")
    return {
        "key": key,
        "name": name,
        "parameters": parts.parameters,
        "title": of.title,
        "unit": of.unit,
        "direction": of.direction,
        "arrow": arrow(key),
        "note": of.note,
        "shown": shown,
    }


def _cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {"mean": cell.mean, "low": cell.low, "high": cell.high, "n": cell.n, "kind": cell.kind}


def row_data(row: Row, keys: list[str], number: int) -> dict[str, Any]:
    """A row; cells and the values of seeds are in the order of ``keys``."""
    return {
        "id": number,
        "method": row.method,
        "label": row.label,
        "url": method_url(row.method),
        "tuned": bool(row.tuned),
        "changed": bool(row.changed),
        "seeds": row.seeds,
        "failed": row.failed,
        "badge": row.badge,
        "cells": [_cell(row.cells.get(key)) for key in keys],
        "values": [[digits(value, 7) for value in row.values.get(key, {}).values()] for key in keys],
        "cost": {name: digits(value, 6) for name, value in row.cost.items() if name in COSTS},
        "keys": row.keys,
    }


def board_data(board: Board, wanted: tuple[str, ...]) -> dict[str, Any]:
    """A board; ``wanted`` are the metrics of the task's card, which are shown at first.

    ``p`` holds the upper triangle, row by row, of each metric's raw p-values.
    """
    shown = columns_of((board.primary, *wanted), board.columns)
    keys = [*shown, *(key for key in board.columns if key not in shown)]
    upper = np.triu_indices(len(board.rows), 1)
    return {
        "version": board.version,
        "budget": board.budget,
        "current": board.current,
        "primary": board.primary,
        "varies": board.varies,
        "columns": [column(key, key in shown) for key in keys],
        "rows": [row_data(row, keys, i) for i, row in enumerate(board.rows)],
        "p": {key: [digits(value) for value in p[upper].tolist()] for key, p in board.p.items()},
    }


def task_data(model: Model, task: str) -> dict[str, Any]:
    """All boards of ``task``."""
    wanted = model.tasks[task].card.metrics
    return {"task": task, "costs": COSTS, "boards": [board_data(board, wanted) for board in model.boards_of.get(task, [])]}


def comparison(model: Model, budget: str) -> dict[str, Any]:
    """Values of the primary metrics of all tasks at ``budget``, of methods as the task sets them by default.

    ``values[method][task]`` lists the seeds' values, ascending by seed; empty where there is no run.
    """
    found = [board for of_task in model.boards_of.values() for board in of_task if board.current and board.budget == budget]
    found = [board for board in found if convention(board.primary).direction != "none"]
    default = {(row.method, board.task): row for board in found for row in board.rows if not row.changed and not row.tuned}
    methods = sorted({method for method, _ in default})
    tasks = [
        {
            "name": board.task,
            "family": model.tasks[board.task].card.family,
            "metric": board.primary,
            "higher": convention(board.primary).direction == "higher",
        }
        for board in found
    ]
    values = [[_seeds(default.get((method, board.task)), board.primary) for board in found] for method in methods]
    return {"budget": budget, "tasks": tasks, "methods": [{"name": name, "url": method_url(name)} for name in methods], "values": values}


def _seeds(row: Row | None, key: str) -> list[float]:
    return [value for _, value in sorted(row.values.get(key, {}).items())] if row else []
