"""What statistics cost, and what their intervals cover: ``python tests/speed/stats.py``. Times are a core's, of one machine in one sitting.

Not a test: a timed unit test fails on a busy machine and says nothing on a fast one. The shares are seeded and repeat.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the aims are for one core

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from elboard.results.stats import bootstrap, compare, compare_rows, elo, iqm, mean_rank, normalise, summarise_many, win_rate  # noqa: E402
from elboard.results.stats.intervals import FEWEST, RESAMPLES, weights  # noqa: E402

SAMPLES = 10_000
DRAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
}


def seconds(function: Callable[[], object]) -> float:
    """Of one core: what else runs on the machine does not count, as far as memory and caches are not shared."""
    start = time.process_time()
    function()
    return time.process_time() - start


def row(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:58} {value:9.2f} {unit:3} {note}", flush=True)


def across_tasks() -> None:
    rng = np.random.default_rng(0)
    table, higher = rng.normal(size=(20, 10, 5)) + np.linspace(0, 1, 20)[:, None, None], np.arange(10) % 2 == 0
    scores = normalise(table, higher)
    bootstrap(scores, {"iqm": iqm}, 100)
    row("IQM, 20 x 10 x 5, 10,000 replicates", seconds(lambda: bootstrap(scores, {"iqm": iqm})), "s", "aim 1")
    row("mean rank, the same", seconds(lambda: bootstrap(table, {"": lambda values: mean_rank(values, higher)})), "s", "aim 1")
    row("win rate, 2,000 replicates", seconds(lambda: bootstrap(table, {"": lambda values: win_rate(values, higher)}, 2000)), "s", "aim 1")
    row("Elo, 2,000 replicates", seconds(lambda: bootstrap(table, {"": lambda values: elo(values, higher)}, 2000)), "s", "aim 1")


def over_seeds() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(100, 100)) + np.linspace(0, 2, 100)[:, None]
    rows = [dict(enumerate(row)) for row in values]
    row("all pairs of 100 methods x 100 seeds", seconds(lambda: compare_rows(rows)), "s", "aim 0.3")
    apart = [{100 * place + seed: value for seed, value in row.items() if seed < 10} for place, row in enumerate(rows)]
    row("100 methods x 10 seeds that never pair", seconds(lambda: compare_rows(apart)), "s")
    row("1,000 cells of 10 seeds", seconds(lambda: summarise_many(list(rng.normal(size=(1000, 10))))), "s")


def intervals(values: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Low and high of each kind of 95 % interval for the rows of ``values`` (C, n)."""
    n = values.shape[1]
    mean, sd = values.mean(1), values.std(1, ddof=1)
    scaled = (values - mean[:, None]) / sd[:, None]
    student = stdtrit(n - 1, 0.975)
    cells = summarise_many(list(values))
    ends = {"this one": tuple(np.array([getattr(cell, side) for cell in cells]) for side in ("low", "high"))}
    ends["Student"] = (mean - student * sd / np.sqrt(n), mean + student * sd / np.sqrt(n))
    if n < FEWEST:
        return ends
    first = scaled @ weights(n).T / n
    spread = np.sqrt(np.maximum(np.square(scaled) @ weights(n).T / n - first**2, 1e-300) * n / (n - 1))
    ordered, studentised = np.sort(first, axis=1), np.sort(first / spread, axis=1)

    def at(levels: np.ndarray, sorted_rows: np.ndarray) -> np.ndarray:
        places = np.clip(np.round(levels * (RESAMPLES + 1)).astype(int) - 1, 0, RESAMPLES - 1)
        return np.take_along_axis(sorted_rows, np.broadcast_to(places, (len(values), 1)), axis=1)[:, 0]

    wide = ndtr(-np.sqrt(n / (n - 1)) * student)
    bias = ndtri(np.clip((first < 0).mean(1, keepdims=True), 1e-4, 1 - 1e-4))
    skew = (scaled**3).sum(1, keepdims=True) / (6 * np.square(scaled).sum(1, keepdims=True) ** 1.5)
    adjusted = [ndtr(bias + (bias + tail) / (1 - skew * (bias + tail))) for tail in (ndtri(0.025), ndtri(0.975))]
    for name, low, high in (("percentile", 0.025, 0.975), ("BCa", *adjusted), ("Hesterberg's", wide, 1 - wide)):
        ends[name] = tuple(mean + sd * at(np.asarray(level), ordered) for level in (low, high))
    ends["bootstrap-t"] = tuple(mean - sd * at(np.asarray(level), studentised) for level in (0.975, 0.025))
    return ends


def coverage() -> None:
    print("\n% of 95 % intervals that cover the mean, and their 99th percentile of width over Student's median width")
    for name, (draw, truth) in DRAWS.items():
        for n in (3, 5, 6, 8, 10, 20):
            rng, covered, width = np.random.default_rng([n, 1]), {}, {}
            for _ in range(SAMPLES // 500):
                for kind, (low, high) in intervals(draw(rng, (500, n))).items():
                    covered.setdefault(kind, []).append((low <= truth) & (truth <= high))
                    width.setdefault(kind, []).append(high - low)
            unit = np.median(np.concatenate(width["Student"]))
            cells = [
                f"{kind} {100 * np.mean(hit):.1f} ({np.quantile(np.concatenate(width[kind]), 0.99) / unit:.1f})"
                for kind, hit in covered.items()
            ]
            print(f"{name:12} n = {n:2}: " + ", ".join(cells), flush=True)


def false_alarms() -> None:
    print("\n% of comparisons of equal methods with p < 0.05")
    for n in (3, 5, 6, 10, 20):
        rng, alarms = np.random.default_rng([n, 2]), {}
        for _ in range(4000):
            x, y = rng.normal(size=(2, n))
            for shift in (0, n):
                found = compare(dict(enumerate(x)), dict(enumerate(y, start=shift)))
                alarms.setdefault(found.test, []).append(found.p < 0.05)
        print(f"n = {n:2}: " + ", ".join(f"{test} {100 * np.mean(hit):.1f}" for test, hit in alarms.items()), flush=True)


if __name__ == "__main__":
    for part in (across_tasks, over_seeds, coverage, false_alarms):
        part()
