"""EASE, embarrassingly shallow autoencoder (Steck 2019).

    min_B |X - X B|^2 + lambda |B|^2   with diag(B) = 0
    P = (X^T X + lambda I)^-1,   B_ij = -P_ij / P_jj for i != j,  0 on the diagonal        (eq. 8);   scores = X B

lambda is 500 on MovieLens 20M in the paper; it scales with the number of users, and 200 was best on the validation users of version 1 of
recommendation/ml-100k among 50, 100, 200, 400 and 800.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Options, Positive
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender, cooccurrences

CARD = MethodCard(
    name="ease",
    title="EASE, linear autoencoder in closed form",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Steck 2019",
    defaults={"trials": 5, "on": "recommendation/ml-100k@1", "by": "ndcg@100", "options": ("lambda_",)},
)


class EASE(ClosedFormRecommender):
    """Item-item weights in closed form."""

    @dataclass(kw_only=True)
    class Config(Options):
        lambda_: Positive = 200.0

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (n_items, n_items)

    def fit(self, data: Data, training: Any) -> None:
        gram = cooccurrences(data.train["x"])
        gram.diagonal().add_(self.config.lambda_)
        p = torch.linalg.inv(gram)
        b = -p / p.diagonal()
        self.weights = b.fill_diagonal_(0).float()

    def scores(self, history: Tensor) -> Tensor:
        return history @ self.weights
