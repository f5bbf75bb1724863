"""SLIM, sparse linear methods (Ning and Karypis 2011).

    min_W  1/(2U) |X - X W|^2 + alpha (r |W|_1 + (1 - r)/2 |W|^2)     with W >= 0 and diag(W) = 0        (eq. 5);     scores = X W

an elastic net of each item on all others, by coordinate descent (Friedman, Hastie and Tibshirani 2010): with G = X^T X / U,

    W_ij  <-  max(0, G_ij - sum_{k != i} G_ik W_kj - alpha r) / (G_ii + alpha (1 - r))

for one item i after the other, and for all columns j together, which do not depend on each other. It ends when no weight has moved by
``tolerance`` in a sweep over all items. Without r and without the bound W >= 0 it is EASE with lambda = U alpha.

alpha = 0.2, r = 0.02, 100 sweeps and 1e-4 are those of RecBole (SLIMElastic).

Difference from the paper: squares are a mean over users, as in scikit-learn and so in RecBole, not a sum, and penalties weigh more by U.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, NonNegative, Options, Positive, Range
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender, cooccurrences

CARD = MethodCard(
    name="slim",
    title="SLIM, sparse linear method",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Ning and Karypis 2011",
    defaults="library",
)
BLOCK = 64  # items whose residuals come from one product of matrices


class SLIM(ClosedFormRecommender):
    """Item-item weights, most of them 0."""

    @dataclass(kw_only=True)
    class Config(Options):
        alpha: Positive = 0.2
        l1_ratio: Annotated[float, Range(0, below=1)] = 0.02  # r
        non_negative: bool = True
        sweeps: Count = 100  # at most
        tolerance: NonNegative = 1e-4

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (n_items, n_items)

    def fit(self, data: Data, training: Any) -> None:
        gram = cooccurrences(data.train["x"]) / len(data.train["x"])
        weights = torch.zeros_like(gram)
        for _ in range(self.config.sweeps):
            if self.sweep(gram, weights) <= self.config.tolerance:
                break
        self.weights = weights.float()

    def sweep(self, gram: Tensor, weights: Tensor) -> float:
        """Update ``weights`` (I, I) in place, a row after the other, each given all others; the largest change."""
        c, moved = self.config, gram.new_zeros(())
        for rows in torch.arange(len(gram)).split(BLOCK):
            residual = gram[rows] - gram[rows] @ weights
            for a, i in enumerate(rows.tolist()):
                target = residual[a] + gram[i, i] * weights[i]
                l1 = c.alpha * c.l1_ratio
                row = (target - l1).clamp(min=0) if c.non_negative else F.softshrink(target, l1)
                row /= gram[i, i] + c.alpha * (1 - c.l1_ratio)
                row[i] = 0
                change = row - weights[i]
                residual[a + 1 :] -= gram[rows[a + 1 :], i, None] * change
                weights[i] = row
                moved = torch.maximum(moved, change.abs().max())
        return moved.item()

    def scores(self, history: Tensor) -> Tensor:
        return history @ self.weights
