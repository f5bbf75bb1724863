"""Popularity: every user gets the items with the most clicks. The baseline that personalisation has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Options
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender

CARD = MethodCard(
    name="popularity",
    title="Most popular items",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="baseline of Liang et al. 2018",
    defaults="none",
)


class Popularity(ClosedFormRecommender):
    """Scores are click counts."""

    @dataclass(kw_only=True)
    class Config(Options):
        pass

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (n_items,)

    def fit(self, data: Data, training: Any) -> None:
        self.weights = data.train["x"].sum(0)

    def scores(self, history: Tensor) -> Tensor:
        return self.weights.expand(len(history), -1)
