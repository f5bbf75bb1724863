"""MovieLens 20M as Liang, Krishnan, Hoffman and Jebara (2018, section 4.1) prepared it: ratings of at least 4, users with five of them,
10,000 users for validation and 10,000 for the test, which leaves 116,677 of 136,677 for training; 80 % of the clicks of a held-out user are
fold-in. NDCG@100, Recall@20 and Recall@50, for 200 epochs of batches of 500 users (section 4.3).

There is no budget lite. A dense matrix of clicks has 20,108 columns: 9.4 GB, for which and for its splitting a machine with 32 GB is meant.

Differences from the paper: each seed draws other users, and test users come from a pool of 20,000; a held-out user whose clicks are fewer
than five once items without a training click are dropped has one target all the same.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.recommendation.base import Recommendation, positive_clicks

CARD = TaskCard(
    name="recommendation/ml-20m",
    title="MovieLens 20M, held-out users",
    needs=("Recommender",),
    primary="ndcg@100",
    metrics=("ndcg@100", "recall@20", "recall@50", "item_coverage@100"),
    selection="ndcg@100",
    data=("ml-20m",),
    varies="seed and user split",
    papers=("045",),
    full="Mult-VAE's own data, preparation and length: 200 epochs of 116,677 users, 10,000 held out twice",
    work={"full": (116_677, 10_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 50, "keep": "best"}, "task": {"held_out": 40, "test_users": 40}},
    "full": {
        "train": {"epochs": 200, "batch_size": 500, "keep": "best"},
        "task": {"held_out": 10_000, "test_users": 10_000},
    },
}


class ML20M(Recommendation):
    """See the module."""

    def clicks(self) -> tuple[np.ndarray, np.ndarray]:
        return positive_clicks(loaders.ml_20m())
