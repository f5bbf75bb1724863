"""What the metrics that take longest cost, in ratios: ``python tests/speed/metrics.py [FEATURES ...]``. Processor time of one core, medians
of repetitions in turn, of one machine in one sitting; only the ratios travel.

* All detection metrics of a million scores, to one ``numpy.argsort`` of them.
* Frechet distances of given moments, to other ways to the same number.
* Full ranking of users of the size of MovieLens 100K's, to one matrix product and one partial sort.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the aims are for one core

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.linalg
import torch
from sklearn import metrics as sk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from elboard.bench.metrics.generation import frechet_distance  # noqa: E402
from elboard.bench.metrics.ood import ood_metrics  # noqa: E402
from elboard.bench.registry import find  # noqa: E402

SCORES = 1_000_000


def medians(ways: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Seconds of each way."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            start = time.process_time()
            way()
            took[name].append(time.process_time() - start)
    return {name: float(np.median(seconds)) for name, seconds in took.items()}


def table(title: str, ways: dict[str, Callable[[], object]], repetitions: int, aim: str = "") -> None:
    """The first way is the unit."""
    seconds = medians(ways, repetitions)
    print(f"\n{title}{aim and f' (aim {aim})'}")
    for name, value in seconds.items():
        print(f"  {name:44} {1e3 * value:9.2f} ms {value / next(iter(seconds.values())):7.2f}", flush=True)


def detection() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], SCORES // 2)
    for kind in (np.float64, np.float32):
        scores = (rng.normal(size=SCORES) + label).astype(kind)
        for title, of in (("distinct", scores), ("ties", scores.round(3))):
            inside, outside = of[: SCORES // 2], of[SCORES // 2 :]
            ways: dict[str, Callable[[], object]] = {
                "numpy.argsort": lambda of=of: np.argsort(of),
                "all metrics": lambda inside=inside, outside=outside: ood_metrics(inside, outside),
                "scikit-learn's AUROC alone": lambda of=of: sk.roc_auc_score(label, of),
            }
            table(f"{SCORES:,} scores, {kind.__name__}, {title}", ways, 9, "1.3 of the sort")


def distances(features: int, repetitions: int) -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(features, features)) / np.sqrt(features)
    rows = [np.maximum(rng.normal(size=(2 * features, features)) @ mixed + 0.5, 0) for _ in range(2)]
    (m1, c1), (m2, c2) = ((of.mean(0), np.cov(of, rowvar=False)) for of in rows)
    few = np.cov(rows[0][: features // 2], rowvar=False)

    def root() -> float:
        values, vectors = np.linalg.eigh(c1)
        half = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
        return float(np.sqrt(np.clip(np.linalg.eigvalsh(half @ c2 @ half), 0, None)).sum())

    ways: dict[str, Callable[[], object]] = {
        "this one": lambda: frechet_distance(m1, c1, m2, c2),
        "this one, of a singular covariance": lambda: frechet_distance(m1, few, m2, c2),
        "by the symmetric root of one": root,
        "by the eigenvalues of the product": lambda: np.sqrt(np.linalg.eigvals(c1 @ c2)).real.sum(),
    }
    if features <= 512:
        ways["by SciPy's root of the product"] = lambda: scipy.linalg.sqrtm(c1 @ c2).real.trace()
    table(f"Frechet distance, {features:,} features", ways, repetitions)


def rankings(users: int = 200, items: int = 1447, k: int = 100) -> None:
    """Test users of one seed of recommendation/ml-100k, of a linear model of all items."""
    rng = np.random.default_rng(0)
    b, clicked = torch.from_numpy(rng.normal(size=(items, items)).astype(np.float32)), rng.random((users, items)) < 0.04
    test = {"history": torch.from_numpy(clicked), "targets": torch.from_numpy(~clicked & (rng.random((users, items)) < 0.01))}
    cls = find("task", "recommendation/ml-100k").load()
    task, method = cls(cls.Config(), "lite", 0), SimpleNamespace(scores=lambda history: history @ b)
    product = torch.from_numpy(clicked).float() @ b

    def least() -> None:
        np.argpartition((test["history"].float() @ b).numpy(), -k, axis=1)

    ways: dict[str, Callable[[], object]] = {
        "product and partial sort": least,
        "lists of the task": lambda: task._rank(method, test),
        "lists and metrics of the task": lambda: task.score(task._rank(method, test), None),
        "a full stable sort alone": lambda: np.argsort(-product.numpy(), axis=1, kind="stable"),
    }
    table(f"{users} users by {items:,} items", ways, 51)


if __name__ == "__main__":
    detection()
    rankings()
    for features in [int(word) for word in sys.argv[1:]] or (64, 512, 2048):
        distances(features, max(3, min(51, 5000 // features)))
