"""MovieLens 1M, prepared as MovieLens 20M is (:mod:`elboard.tasks.recommendation.ml_20m`): ratings of at least 4, users with five of them.

600 users are held out for validation and 600 for the test, a tenth each; 200 epochs of batches of 500 users. There is no budget lite.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.recommendation.base import Recommendation, positive_clicks

CARD = TaskCard(
    name="recommendation/ml-1m",
    title="MovieLens 1M, held-out users",
    needs=("Recommender",),
    primary="ndcg@100",
    metrics=("ndcg@100", "recall@20", "recall@50", "item_coverage@100"),
    selection="ndcg@100",
    data=("ml-1m",),
    varies="seed and user split",
    full="all of MovieLens 1M in Mult-VAE's preparation and length, 600 users held out twice; no paper's own",
    work={"full": (4_834, 600)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 50, "keep": "best"}, "task": {"held_out": 40, "test_users": 40}},
    "full": {
        "train": {"epochs": 200, "batch_size": 500, "keep": "best"},
        "task": {"held_out": 600, "test_users": 600},
    },
}


class ML1M(Recommendation):
    """See the module."""

    def clicks(self) -> tuple[np.ndarray, np.ndarray]:
        return positive_clicks(loaders.ml_1m())
