"""BPR-MF, matrix factorisation for Bayesian personalised ranking (Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009).

    min  sum_{u, i clicked by u, j not} - log s(x_uij) + l2/2 (|w_u|^2 + |h_i|^2 + |h_j|^2)        (BPR-Opt, section 4.1)
    x_uij = w_u . (h_i - h_j)                                                                      (section 4.3.1)

s is the logistic function: a clicked item is to score higher than one that was not. For each click of a batch of users one j is drawn
uniformly from what its user did not click; the loss is the sum over clicks by the number of users.

Differences from the paper: users that are scored were not trained on and have no w_u. It is the mean of h_i over the items of their history
(on the validation users of recommendation/ml-100k better than ridge regressions of the history on the items' factors: 0.40 against 0.36 at
most in NDCG@100, seed 1000). Each click is seen once an epoch, where the paper draws triples with replacement; Adam instead of plain steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.recommendation import Recommender
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, DataSpec

CARD = MethodCard(
    name="bpr-mf",
    title="Matrix factorisation for Bayesian personalised ranking",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Rendle et al. 2009",
    splits=True,
    defaults={"trials": 2, "on": "recommendation/ml-100k", "by": "ndcg@100", "options": ("l2",), "rest": "convention"},
    aliases=("bpr",),
)


class BPRMF(Method, Recommender):
    """Factors of training users and of items."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.01
        latent_dim: Count = 64  # RecBole's
        l2: NonNegative = 0.01

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.users, self.items = (nn.Parameter(torch.empty(n, config.latent_dim)) for n in (spec.n_train, spec.shape[0]))
        nn.init.xavier_normal_(self.users)
        nn.init.xavier_normal_(self.items)

    def factors(self) -> tuple[Tensor, Tensor]:
        """What scores are products of: of users ``(U, K)`` and of items ``(I, K)``."""
        return self.users, self.items

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, index = batch["x"], batch["index"]
        row, liked = x.nonzero(as_tuple=True)
        other = draw_other(x, row)
        users, items = self.factors()
        user = index[row]
        margin = (users[user] * (items[liked] - items[other])).sum(1)
        penalty = self.users[user].square().sum() + self.items[liked].square().sum() + self.items[other].square().sum()
        ranking = -F.logsigmoid(margin).sum()
        in_order = margin.new_zeros(len(x)).index_add(0, row, (margin > 0).to(margin.dtype)) / x.sum(1).clamp(min=1)
        return {"loss": (ranking + self.config.l2 / 2 * penalty) / len(x), "in_order": in_order.mean()}

    def fold_in(self, history: Tensor) -> Tensor:
        """w of clicks ``(B, I)``, ``(B, K)``."""
        return history @ self.items / history.sum(1, keepdim=True).clamp(min=1)

    def scores(self, history: Tensor) -> Tensor:
        return self.fold_in(history) @ self.factors()[1].T


def draw_other(x: Tensor, row: Tensor) -> Tensor:
    """For each of the rows ``row`` (N,) of clicks ``x`` (B, I) an item without a click, uniformly; of a row that has none, item 0."""
    unclicked = x.argsort(dim=1, stable=True)  # items without a click come first
    n = x.shape[1] - x.sum(1)
    return unclicked[row, (torch.rand(len(row), device=x.device) * n[row]).long()]
