"""A curved manifold of dimension 4 in 50 dimensions; the protocol is in :mod:`elboard.tasks.dimension.base`."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.dimension.base import ManifoldDimension

CARD = TaskCard(
    name="dimension/manifold-4",
    title="Relevant axes on a manifold of dimension 4",
    needs=("RealLikelihood", "LatentModel"),
    primary="dimension_error",
    metrics=("dimension_error", "dimension", "nll"),
    selection="nll[k=50]",
    papers=("016",),
    full="ten times the training points of lite, for 200 instead of 60 epochs; no paper's own setting",
    work={"lite": (5000, 101_000), "full": (50_000, 1_001_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 50}, "task": {"n_train": 200, "n_valid": 50, "n_test": 100, "k": 8}},
    "lite": {"train": {"epochs": 60, "batch_size": 100, "validate_every": 10, "keep": "best"}},
    "full": {"train": {"epochs": 200, "batch_size": 100, "validate_every": 10, "keep": "best"}, "task": {"n_train": 50_000, "k": 1000}},
}


class Manifold4(ManifoldDimension):
    """See the module."""

    intrinsic = 4
