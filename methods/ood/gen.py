"""Generalised entropy (Liu, Lochman and Zach 2023), of the M most probable classes.

    score(x) = sum_{j in top M} p_j^gamma (1 - p_j)^gamma,   p = softmax(W z + b),   z = f(x)

A small gamma weighs departures from a one-hot distribution that are small already. gamma = 1 with all classes is the Gini impurity
1 - sum p^2. 1 - p_j is summed from the other probabilities, so that it does not vanish for confident images in float32.

Differences from the paper: its M = 100 is of the 1,000 classes of ImageNet; tasks here have at most ten, all of which count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Natural, Positive
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="gen",
    title="Generalised entropy",
    family="ood",
    home="ood/digits",
    cite="Liu, Lochman and Zach 2023",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class GEN(PostHoc):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        gamma: Positive = 0.1  # of the paper and of OpenOOD
        top: Natural = 0  # M; 0: all classes

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        n_classes = logits.shape[1]
        p, order = logits.softmax(1).topk(min(self.config.top or n_classes, n_classes), dim=1)
        others = logits.softmax(1) @ (1 - torch.eye(n_classes, dtype=logits.dtype, device=logits.device))
        return (p * others.gather(1, order)).pow(self.config.gamma).sum(1)
