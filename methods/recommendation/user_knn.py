"""User-kNN, neighbourhoods of users (Resnick et al. 1994; for clicks and many items Sarwar et al. 2000).

    s_uv = |h_u and x_v| / (sqrt(|h_u| |x_v|) + shrink),     scores_uj = sum of s_uv x_vj over the k training users v nearest to u

with the history h_u of a user and the clicks x_v of a training user: the cosine of two rows of clicks, drawn towards 0 where it rests on
few of them. k = 100 without shrinkage, as of items (:mod:`elboard.methods.recommendation.item_knn`).

Differences from the papers: users that are scored were not trained on, so their neighbours are training users alone, and a history is
compared with rows from which nothing was held out. Clicks have no mean that a user's ratings would be taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, NonNegative, Options
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender, cosine, largest

CARD = MethodCard(
    name="user-knn",
    title="Nearest neighbours of users, cosine",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Resnick et al. 1994; Sarwar et al. 2000",
    defaults="convention",
)


class UserKNN(ClosedFormRecommender):
    """``weights`` are the clicks of the training users."""

    holds: ClassVar[torch.dtype] = torch.bool

    @dataclass(kw_only=True)
    class Config(Options):
        neighbours: Count = 100
        shrink: NonNegative = 0.0

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (self.spec.n_train, n_items)

    def fit(self, data: Data, training: Any) -> None:
        self.weights = data.train["x"].bool()

    def scores(self, history: Tensor) -> Tensor:
        clicks = self.weights.to(history.dtype)
        similarities = cosine(history @ clicks.T, history.sum(1), clicks.sum(1), self.config.shrink)
        return largest(similarities, self.config.neighbours) @ clicks
