"""Boards and families of boards as the data that the scripts read."""

from __future__ import annotations

from typing import Any

import numpy as np

from elboard.bench.metrics.conventions import ceiling, convention, parse, saturated
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


def column(key: str, shown: bool, examples: str = "") -> dict[str, Any]:
    """A metric as a column: its heading, unit and direction, and of how many ``examples`` it is where the key does not say it."""
    of, parts = convention(key), parse(key)
    name = parts.name + (f"@{parts.at}" if parts.at else "") + (f"/{parts.slice}" if parts.slice else "")
    return {
        "key": key,
        "name": name,
        "parameters": parts.parameters or examples and f"of {examples}",
        **{said: getattr(of, said) for said in ("title", "unit", "direction", "note")},
        "arrow": arrow(key),
        "shown": shown,
    }


def _cell(key: str, cell: Cell) -> dict[str, Any]:
    bound = {"ceiling": ceiling(key)} if saturated(key, cell.mean) else {}
    return {name: getattr(cell, name) for name in ("mean", "low", "high", "n", "kind")} | bound


def row_data(row: Row, keys: list[str], number: int) -> dict[str, Any]:
    """A row; cells, and of each the values in the order of ``seeds`` (None where there is none), are in the order of ``keys``.

    Values are exact: the browser compares the rows by them.
    """
    cells = ((key, row.cells.get(key)) for key in keys)
    return {
        "id": number,
        **{said: getattr(row, said) for said in ("method", "label", "seeds", "badge")},
        "url": method_url(row.method),
        "oracle": bool(row.oracle),
        "tuned": bool(row.tuned),
        "tuning": row.tuning.words,
        "changed": bool(row.changed),
        "failed": row.of.failed,
        "cells": [cell and _cell(key, cell) for key, cell in cells],
        "values": [[row.values.get(key, {}).get(seed) for seed in row.seeds] for key in keys],
        "cost": {name: digits(row.cost[name], 6) for name in COSTS if name in row.cost},
        "keys": row.of.keys,
    }


def board_data(board: Board, wanted: tuple[str, ...]) -> dict[str, Any]:
    """A board; ``wanted`` are the metrics of the task's card, which are shown at first."""
    shown = columns_of((board.primary, *wanted), board.columns)
    keys = [*shown, *(key for key in board.columns if key not in shown)]
    return {
        **{said: getattr(board, said) for said in ("version", "budget", "current", "primary", "varies")},
        "columns": [column(key, key in shown, board.examples_said.get(key, "")) for key in keys],
        "rows": [row_data(row, keys, i) for i, row in enumerate(board.rows)],
    }


def task_data(model: Model, task: str) -> dict[str, Any]:
    """All boards of ``task``."""
    wanted = model.tasks[task].card.metrics
    return {"task": task, "costs": COSTS, "boards": [board_data(board, wanted) for board in model.boards_of.get(task, [])]}
