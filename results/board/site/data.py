"""Boards and families of boards as the data that the scripts read."""

from __future__ import annotations

from typing import Any

import numpy as np

from elboard.bench.metrics.conventions import convention, parse
from elboard.results.board.build import Board, Row, arrow, columns_of
from elboard.results.board.site.model import Model, method_url

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
        **{said: getattr(of, said) for said in ("title", "unit", "direction", "note")},
        "arrow": arrow(key),
        "shown": shown,
    }


def row_data(row: Row, keys: list[str], number: int) -> dict[str, Any]:
    """A row; cells and the values of seeds are in the order of ``keys``."""
    cells = (row.cells.get(key) for key in keys)
    return {
        "id": number,
        **{said: getattr(row, said) for said in ("method", "label", "seeds", "badge")},
        "url": method_url(row.method),
        "tuned": bool(row.tuned),
        "changed": bool(row.changed),
        "failed": row.of.failed,
        "cells": [cell and {name: getattr(cell, name) for name in ("mean", "low", "high", "n", "kind")} for cell in cells],
        "values": [[digits(value, 7) for value in row.values.get(key, {}).values()] for key in keys],
        "cost": {name: digits(row.cost[name], 6) for name in COSTS if name in row.cost},
        "keys": row.of.keys,
    }


def board_data(board: Board, wanted: tuple[str, ...]) -> dict[str, Any]:
    """A board; ``wanted`` are the metrics of the task's card, which are shown at first.

    ``p`` holds the upper triangle, row by row, of each metric's raw p-values.
    """
    shown = columns_of((board.primary, *wanted), board.columns)
    keys = [*shown, *(key for key in board.columns if key not in shown)]
    upper = np.triu_indices(len(board.rows), 1)
    return {
        **{said: getattr(board, said) for said in ("version", "budget", "current", "primary", "varies")},
        "columns": [column(key, key in shown) for key in keys],
        "rows": [row_data(row, keys, i) for i, row in enumerate(board.rows)],
        "p": {key: [digits(value) for value in p[upper].tolist()] for key, p in board.p.items()},
    }


def task_data(model: Model, task: str) -> dict[str, Any]:
    """All boards of ``task``."""
    wanted = model.tasks[task].card.metrics
    return {"task": task, "costs": COSTS, "boards": [board_data(board, wanted) for board in model.boards_of.get(task, [])]}
