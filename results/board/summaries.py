"""What a board says of its groups (cells, p-values, costs), kept where it is dear.

A board of 50 methods with 100 seeds each takes seconds of resampling. What was computed is kept under the hash of all that it depends
on, the values and the statistics' source included: a cache that may be deleted at any time and cannot be out of date. Groups whose values
have not been read say what the hash of these is, so that a board whose statistics are kept reads none.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from elboard.results import stats
from elboard.results.stats import Cell, pairwise, summarise_many
from elboard.results.store import Group

FOLDER = "summaries"
DEAR = 2000  # values on a board from which on its summaries are kept
VERSION = 2  # of what a file holds
KINDS = ("none", "t", "bootstrap")


@dataclass(frozen=True)
class Summary:
    """Of the groups of a board: ``cells`` of each by metric, raw p-values ``p`` (groups, groups) of all pairs by metric, and of each the
    mean ``costs`` by name."""

    cells: list[dict[str, Cell]]
    p: dict[str, np.ndarray]
    costs: list[dict[str, float]]


def summarise_board(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], kept_in: Path | None) -> Summary:
    """Summary of ``groups``: cells of the metrics ``columns``, p-values of the metrics ``ranked``.

    ``kept_in``: folder of the cache; None keeps nothing.
    """
    dear = sum(group.n for group in groups) * len(columns) >= DEAR or not all(group.read for group in groups)
    file = kept_in / FOLDER / f"{_fingerprint(groups, columns, ranked)}.npz" if kept_in is not None and dear else None
    found = None if file is None else _read(file, len(groups), columns, ranked)
    if found is None:
        found = _compute(groups, columns, ranked)
        if file is not None:
            with contextlib.suppress(OSError):
                _write(file, found)
    cells = [{key: _cell(row) for key, row in zip(columns, of_group, strict=True) if row[1] > 0} for of_group in found["cells"].tolist()]
    names = found["names"].tolist()
    costs = [{name: mean for name, mean in zip(names, of_group, strict=True) if mean == mean} for of_group in found["costs"].tolist()]
    return Summary(cells, dict(zip(ranked, found["p"], strict=True)), costs)


def clear(kept_in: Path) -> None:
    """Delete what is kept in ``kept_in``."""
    for file in (kept_in / FOLDER).glob("*.npz"):
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


def _compute(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str]) -> dict[str, np.ndarray]:
    """``cells`` as numbers (groups, columns, 8), NaN for None, ``p`` (ranked, groups, groups), and ``names`` (costs,) of ``costs`` (groups,
    costs), NaN where absent."""
    cells = np.full((len(groups), len(columns), 8), np.nan)
    cells[..., 1] = 0
    there = [
        (i, j, group.metrics[key][~np.isnan(group.metrics[key])])
        for i, group in enumerate(groups)
        for j, key in enumerate(columns)
        if key in group.metrics
    ]
    there = [(i, j, values) for i, j, values in there if len(values)]
    for (i, j, _), cell in zip(there, summarise_many([values for _, _, values in there]), strict=True):
        numbers = (cell.mean, cell.n, cell.sd, cell.low, cell.high, cell.minimum, cell.maximum, KINDS.index(cell.kind))
        cells[i, j] = [np.nan if number is None else number for number in numbers]
    p = np.full((len(ranked), len(groups), len(groups)), np.nan)
    for k, key in enumerate(ranked):
        rows = [i for i, group in enumerate(groups) if key in group.metrics and not np.isnan(group.metrics[key]).all()]
        p[k][np.ix_(rows, rows)] = pairwise([by_seed(groups[i], key) for i in rows]).p
    means = [mean_costs(group) for group in groups]
    names = list(dict.fromkeys(name for of_group in means for name in of_group))
    costs = np.array([[of_group.get(name, np.nan) for name in names] for of_group in means], dtype=np.float64)
    return {"cells": cells, "p": p, "names": np.array(names, dtype=str), "costs": costs.reshape(len(groups), len(names))}


def mean_costs(group: Group) -> dict[str, float]:
    """Means over the runs of whatever the records hold (wall_s, parameters ...), and ``energy_j``, processors and GPUs together."""
    means = {name: float(array.mean()) for name, array in group.cost.items() if len(array)}
    for name in [name for name, mean in means.items() if mean != mean]:  # some runs lack it
        there = group.cost[name][~np.isnan(group.cost[name])]
        means[name] = float(there.mean()) if len(there) else np.nan
    means = {name: mean for name, mean in means.items() if mean == mean}
    energy = [means[name] for name in ("energy_cpu_j", "energy_gpu_j") if name in means]
    return means | ({"energy_j": sum(energy)} if energy else {})


def by_seed(group: Group, key: str) -> dict[int, float]:
    """Values of a metric by seed, of the runs that have it."""
    values = group.metrics[key]
    there = ~np.isnan(values)
    return dict(zip(group.seeds[there].tolist(), values[there].tolist(), strict=True))


def _cell(row: Sequence[float]) -> Cell:
    mean, n, sd, low, high, least, most, kind = row
    single = n < 2
    return Cell(mean, int(n), None if single else sd, None if single else low, None if single else high, least, most, KINDS[int(kind)])


def _read(file: Path, count: int, columns: Sequence[str], ranked: Sequence[str]) -> dict[str, np.ndarray] | None:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("cells", "p", "names", "costs")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    wanted = {"cells": (count, len(columns), 8), "p": (len(ranked), count, count), "costs": (count, len(found["names"]))}
    return found if all(found[name].shape == shape for name, shape in wanted.items()) else None


def _write(file: Path, found: dict[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **found)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, file)
