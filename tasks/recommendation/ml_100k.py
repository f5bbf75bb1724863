"""MovieLens 100K: 938 users with at least five ratings of 4 or 5.

Each seed draws 200 test users from a pool of 400 and 100 validation users from the others. The data set is small: differences below about
one point of NDCG@100 are within the spread of splits, so methods are compared on the same splits. lite trains the papers' networks in full.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.recommendation.base import Recommendation, positive_clicks

CARD = TaskCard(
    name="recommendation/ml-100k",
    title="MovieLens 100K, held-out users",
    needs=("Recommender",),
    primary="ndcg@100",
    metrics=("ndcg@100", "recall@20", "recall@50", "item_coverage@100"),
    selection="ndcg@100",
    data=("ml-100k",),
    varies="seed and user split",
    papers=("045",),
    full="the data of lite for 400 instead of 150 epochs; not the papers' ML-20M, Netflix and MSD",
    work={"lite": (638, 200), "full": (638, 200)},
    version=3,
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 50, "keep": "best"}, "task": {"held_out": 40, "test_users": 40}},
    "lite": {"train": {"epochs": 150, "batch_size": 64, "validate_every": 5, "keep": "best"}},
    "full": {"train": {"epochs": 400, "batch_size": 64, "validate_every": 5, "keep": "best"}},
}


class ML100K(Recommendation):
    """See the module."""

    def clicks(self) -> tuple[np.ndarray, np.ndarray]:
        return positive_clicks(loaders.ml_100k())
