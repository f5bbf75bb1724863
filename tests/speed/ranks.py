"""Errors and power of a board's ranks by simulation: ``python tests/speed/ranks.py [REPETITIONS [SEED]]``; docs/results.md has the table.

A board has ten rows of n seeds with a correlation of 0.3 between the rows of a seed. Wrong: share of boards of ten equal rows on which any
two are separated. Found: share of the five rows 4 standard deviations (of the usual row) worse than the other five that are found to be
significantly worse than any row.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from elboard.results.stats import compare_rows, standings  # noqa: E402

ROWS, CORRELATION, SHIFT = 10, 0.3, 4.0
SETTINGS = ("equal", "log-normal 0.5", "log-normal 1", "one row x 10")
SEEDS = (2, 3, 5, 10)


def spreads(rng: np.random.Generator, setting: str, rows: int) -> np.ndarray:
    """Standard deviations (rows,): equal, with a normal logarithm of this deviation, or one (of the better rows) ten times the others."""
    if setting.startswith("log-normal"):
        return np.exp(float(setting.split()[1]) * rng.normal(size=rows))
    return np.where((np.arange(rows) == 0) & (setting == "one row x 10"), 10.0, 1.0)


def board(rng: np.random.Generator, setting: str, n: int, shift: float, rows: int = ROWS) -> np.ndarray:
    """Values (rows, n); the second half of the rows is worse by ``shift``, where higher is better."""
    noise = np.sqrt(CORRELATION) * rng.normal(size=(1, n)) + np.sqrt(1 - CORRELATION) * rng.normal(size=(rows, n))
    return spreads(rng, setting, rows)[:, None] * noise - shift * (np.arange(rows) >= rows // 2)[:, None]


def found_worse(values: np.ndarray) -> np.ndarray:
    """Whether each row of ``values`` (rows, n) is significantly worse than any other."""
    pairs = compare_rows([dict(enumerate(row)) for row in values.tolist()])
    return np.array([at.state == "worse" for at in standings(pairs, values.mean(1), "higher")])


def shares(setting: str, n: int, repetitions: int, seed: int = 0, rows: int = ROWS) -> tuple[float, float]:
    """Share of boards with a wrong separation, and of the worse rows that are found."""
    rng = np.random.default_rng([SETTINGS.index(setting), n, seed])
    wrong, found = 0, 0
    for _ in range(repetitions):
        wrong += found_worse(board(rng, setting, n, 0.0, rows)).any()
        found += found_worse(board(rng, setting, n, SHIFT, rows))[rows // 2 :].mean()
    return wrong / repetitions, found / repetitions


if __name__ == "__main__":
    repetitions, seed = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 2000), (2, 0)))
    for sizes, rows in ((SEEDS, (ROWS,)), ((3,), (3, 5, 20))):
        cases = [(n, count) for count in rows for n in sizes]
        print(f"{'spread of the rows':20} " + " ".join(f"{count:2} rows, n = {n:2}: wrong found" for n, count in cases))
        for setting in SETTINGS:
            cells = ("{:25.3f} {:5.2f}".format(*shares(setting, n, repetitions, seed, count)) for n, count in cases)
            print(f"{setting:20} " + " ".join(cells), flush=True)
