"""Cells and p-values of a board, kept where they are dear.

A board of 50 methods with 100 seeds each takes seconds of resampling. What was computed is kept under the hash of all that it depends
on, the values and the statistics' source included: a cache that may be deleted at any time and cannot be out of date.
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
from functools import cache
from pathlib import Path

import numpy as np

import results.stats
from results.stats import Cell, pairwise, summarise_many
from results.store import Group

FOLDER = "summaries"
DEAR = 2000  # values on a board from which on its summaries are kept
KINDS = ("none", "t", "bootstrap")


def summarise_board(
    groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], kept_in: Path | None
) -> tuple[list[dict[str, Cell]], dict[str, np.ndarray]]:
    """Of each of ``groups`` its cells by metric, and for each metric of ``ranked`` the raw p-values of all pairs (groups, groups).

    ``kept_in``: folder of the cache; None keeps nothing.
    """
    size = sum(len(group.seeds) for group in groups) * len(columns)
    file = kept_in / FOLDER / f"{_fingerprint(groups, columns, ranked)}.npz" if kept_in is not None and size >= DEAR else None
    found = None if file is None else _read(file, len(groups), columns, ranked)
    if found is None:
        found = _compute(groups, columns, ranked)
        if file is not None:
            with contextlib.suppress(OSError):
                _write(file, *found, columns)
    cells, p = found
    named = [{key: _cell(row) for key, row in zip(columns, of_group, strict=True) if row[1] > 0} for of_group in cells]
    return named, dict(zip(ranked, p, strict=True))


def clear(kept_in: Path) -> None:
    """Delete what is kept in ``kept_in``."""
    for file in (kept_in / FOLDER).glob("*.npz"):
        file.unlink(missing_ok=True)


@cache
def _source() -> bytes:
    folder = Path(results.stats.__file__).parent
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))


def _fingerprint(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str]) -> str:
    digest = hashlib.sha256(_source())
    digest.update(json.dumps([list(columns), list(ranked), len(groups)]).encode())
    for group in groups:
        digest.update(f"{group.group} {len(group.seeds)}".encode())
        digest.update(np.ascontiguousarray(group.seeds, dtype=np.int64).tobytes())
        for key in columns:
            if key in group.metrics:
                digest.update(key.encode())
                digest.update(np.ascontiguousarray(group.metrics[key]).tobytes())
    return digest.hexdigest()[:32]


def _compute(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cells as numbers (groups, columns, 8), NaN for None, and p-values (ranked, groups, groups)."""
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
    return cells, p


def by_seed(group: Group, key: str) -> dict[int, float]:
    """Values of a metric by seed, of the runs that have it."""
    values = group.metrics[key]
    there = ~np.isnan(values)
    return dict(zip(group.seeds[there].tolist(), values[there].tolist(), strict=True))


def _cell(row: np.ndarray) -> Cell:
    mean, n, sd, low, high, least, most, kind = row.tolist()
    single = n < 2
    return Cell(mean, int(n), None if single else sd, None if single else low, None if single else high, least, most, KINDS[int(kind)])


def _read(file: Path, count: int, columns: Sequence[str], ranked: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            cells, p = arrays["cells"], arrays["p"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    fits = cells.shape == (count, len(columns), 8) and p.shape == (len(ranked), count, count)
    return (cells, p) if fits else None


def _write(file: Path, cells: np.ndarray, p: np.ndarray, columns: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, cells=cells, p=p, columns=np.array(columns))
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, file)
