"""MovieLens small, the edition of October 2016: users with at least five ratings of 4 or more, of 100,004 ratings of 671 users.

As many ratings as MovieLens 100K has, from 1995 to 2016 and for five times as many films. Half of those have a click or two: the items are
the films that five training users clicked, about 1,750, which have four of five clicks. Each seed draws 120 test users from a pool of 240
and 80 validation users from the others.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.recommendation.base import Recommendation, positive_clicks

CARD = TaskCard(
    name="recommendation/movielens-small",
    title="MovieLens small, held-out users",
    needs=("Recommender",),
    primary="ndcg@100",
    metrics=("ndcg@100", "recall@20", "recall@50", "item_coverage@100"),
    selection="ndcg@100",
    data=("movielens-small",),
    varies="seed and user split",
    full="the data of lite for 400 instead of 150 epochs; no paper's own",
    work={"lite": (459, 120), "full": (459, 120)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 50, "keep": "best"}, "task": {"held_out": 40, "test_users": 40}},
    "lite": {
        "train": {"epochs": 150, "batch_size": 64, "validate_every": 5, "keep": "best"},
        "task": {"held_out": 80, "test_users": 120, "item_clicks": 5},
    },
    "full": {
        "train": {"epochs": 400, "batch_size": 64, "validate_every": 5, "keep": "best"},
        "task": {"held_out": 80, "test_users": 120, "item_clicks": 5},
    },
}


class MovieLensSmall(Recommendation):
    """See the module."""

    def clicks(self) -> tuple[np.ndarray, np.ndarray]:
        return positive_clicks(loaders.movielens_small())
