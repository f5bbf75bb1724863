"""LightGCN, simplified graph convolution (He, Deng, Wang, Li, Zhang and Wang 2020).

    e_u^{k+1} = sum_{i clicked by u} e_i^k / sqrt(|u| |i|),     e_i^{k+1} = sum_{u that clicked i} e_u^k / sqrt(|i| |u|)        (eq. 3)
    e = 1/(K+1) sum_{k=0..K} e^k,     scores e_u . e_i                                                                          (eq. 4, 5)

|u| and |i| are numbers of clicks. Only e^0 is learned, by the pairwise loss and its penalty (eq. 15) of
:mod:`elboard.methods.recommendation.bpr_mf`, which is LightGCN without layers.

Differences from the paper: users that are scored were not trained on. What items are has come to an end with training; a new user with
history h has

    e_u^{k+1} = sum_{i in h} e_i^k / sqrt(|h| |i|)     and e_u^0 the mean of e_i^0 over h, by which BPR-MF folds users in

and the items' embeddings are those of the training graph, which the new user does not enter. A step propagates through the whole graph and
takes the clicks of a batch of users, where the paper draws 2,048 of all clicks; the rate is 0.01 for the paper's 0.001, as trainings have
150 epochs here and up to 1,000 there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Natural
from elboard.bench.task import Data
from elboard.methods.parts.sparse import SparseMatrix
from elboard.methods.recommendation.bpr_mf import BPRMF

CARD = MethodCard(
    name="lightgcn",
    title="LightGCN, embeddings propagated through clicks",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="He et al. 2020",
    splits=True,
    defaults="convention",
)


class LightGCN(BPRMF):
    """Embeddings that neighbours in the graph of clicks share."""

    @dataclass(kw_only=True)
    class Config(BPRMF.Config):
        layers: Natural = 3  # K; the paper's best on most data
        l2: float = 1e-4  # the paper's

    def prepare(self, data: Data) -> None:
        x = data.train["x"]
        of_users, of_items = x.sum(1), x.sum(0)
        user, item = x.nonzero(as_tuple=True)
        values = (of_users[user] * of_items[item]).rsqrt()
        self.to_users = SparseMatrix(user, item, values, x.shape[0])
        self.to_items = SparseMatrix(item, user, values, x.shape[1])
        self.register_buffer("clicks", of_items, persistent=False)

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """``e^0 .. e^K`` of users and of items."""
        users, items = [self.users], [self.items]
        for _ in range(self.config.layers):
            above = self.to_users @ items[-1], self.to_items @ users[-1]
            users.append(above[0])
            items.append(above[1])
        return users, items

    def factors(self) -> tuple[Tensor, Tensor]:
        users, items = self.layers()
        return torch.stack(users).mean(0), torch.stack(items).mean(0)

    def scores(self, history: Tensor) -> Tensor:
        items = self.layers()[1]
        lengths = history.sum(1, keepdim=True) * self.clicks
        step = history / lengths.clamp(min=1).sqrt()
        user = torch.stack([self.fold_in(history), *(step @ e for e in items[:-1])]).mean(0)
        return user @ torch.stack(items).mean(0).T
