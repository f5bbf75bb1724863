"""What a board says of its groups (cells, standings, costs), kept where it is dear.

A board of 50 methods with 100 seeds each takes seconds of resampling. What was computed is kept under the hash of all that it depends
on, the values and the statistics' source included: a cache that may be deleted at any time and cannot be out of date. Groups whose values
have not been read say what the hash of these is, so that a board whose statistics are kept reads none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elboard.bench.metrics.conventions import convention
from elboard.bench.record import write_text_atomically
from elboard.results import stats
from elboard.results.stats import Cell, Standing, compare_rows, standings, summarise_many
from elboard.results.store import Group

FOLDER = "summaries"
DEAR = 200  # values on a board from which on its summaries are kept
VERSION = 4  # of what a file holds


@dataclass(frozen=True)
class Summary:
    """Of each group of a board: ``cells`` by metric, where it stands by each ranked metric, mean ``costs`` by name."""

    cells: list[dict[str, Cell]]
    ranks: list[dict[str, Standing]]
    costs: list[dict[str, float]]


def summarise_board(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], kept_in: Path | None) -> Summary:
    """Summary of ``groups``: cells of the metrics ``columns``, standings by the metrics ``ranked`` among them.

    ``kept_in``: folder of the cache; None keeps nothing.
    """
    dear = sum(group.n for group in groups) * len(columns) >= DEAR or not all(group.read for group in groups)
    if kept_in is None or not dear:
        return _compute(groups, columns, ranked)
    file = kept_in / FOLDER / f"{_fingerprint(groups, columns, ranked)}.json"
    found = _read(file)
    if found is None:
        found = _compute(groups, columns, ranked)
        with contextlib.suppress(OSError):
            _write(file, found)
    return found


def clear(kept_in: Path) -> None:
    """Delete what is kept in ``kept_in``."""
    for file in (kept_in / FOLDER).glob("*"):
        file.unlink(missing_ok=True)


@cache
def _source() -> bytes:
    folder = Path(stats.__file__).parent
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))


def _fingerprint(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str]) -> str:
    digest = hashlib.sha256(_source())
    said = [VERSION, list(columns), list(ranked), [[group.group, group.n, group.digest] for group in groups]]
    digest.update(json.dumps(said).encode())
    return digest.hexdigest()[:32]


def _compute(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str]) -> Summary:
    values = {(i, key): by_seed(group, key) for i, group in enumerate(groups) for key in columns if key in group.metrics}
    values = {of: found for of, found in values.items() if found}
    cells: list[dict[str, Cell]] = [{} for _ in groups]
    for (i, key), cell in zip(values, summarise_many([list(found.values()) for found in values.values()]), strict=True):
        cells[i][key] = cell
    ranks: list[dict[str, Standing]] = [{} for _ in groups]
    for key in ranked:
        rows = [i for i, of_group in enumerate(cells) if key in of_group]
        means = [cells[i][key].mean for i in rows]
        found = standings(compare_rows([values[i, key] for i in rows]), means, convention(key).direction)
        for i, standing in zip(rows, found, strict=True):
            ranks[i][key] = standing
    return Summary(cells, ranks, [mean_costs(group) for group in groups])


def mean_costs(group: Group) -> dict[str, float]:
    """Means, over the runs that have it, of whatever the records hold (wall_s, parameters ...), and ``energy_j``, processors and GPUs
    together."""
    means = {name: float(array[~np.isnan(array)].mean()) for name, array in group.cost.items() if not np.isnan(array).all()}
    energy = [means[name] for name in ("energy_cpu_j", "energy_gpu_j") if name in means]
    return means | ({"energy_j": sum(energy)} if energy else {})


def by_seed(group: Group, key: str) -> dict[int, float]:
    """Values of a metric by seed, of the runs that have it."""
    values = group.metrics[key]
    there = ~np.isnan(values)
    return dict(zip(group.seeds[there].tolist(), values[there].tolist(), strict=True))


def _read(file: Path) -> Summary | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        cells = [{key: Cell(*numbers) for key, numbers in of_group.items()} for of_group in kept["cells"]]
        ranks = [{key: Standing(*said) for key, said in of_group.items()} for of_group in kept["ranks"]]
        return Summary(cells, ranks, kept["costs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, found: Summary) -> None:
    cells, ranks = (
        [{key: list(vars(said).values()) for key, said in of.items()} for of in groups] for groups in (found.cells, found.ranks)
    )
    write_text_atomically(file, json.dumps({"cells": cells, "ranks": ranks, "costs": found.costs}))
