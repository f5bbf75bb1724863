"""Variational self-supervised learning with cosine similarities (Yavuz and Yanikoglu 2025).

    term = (1 - cos)/s + log(s)/2 + weight [ (1 - cos)/t + (s/t - 1 - log(s/t))/2 ],     cos = cos(mu_s, mu_t)

Means have length sqrt(d) and there is one variance s of the student, t of the teacher, for an image: the squared distance of means over d
is 2 (1 - cos), so that this is the Gaussian form on the sphere, exactly. With all variances 1 it is (1 + weight) / 2 of the loss of BYOL.
Differences from the paper: see :mod:`elboard.methods.selfsup.variational`, for the terms and for what is not the paper's own.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.selfsup.base import Seen
from elboard.methods.selfsup.variational import VSSL, divergence, likelihood

CARD = MethodCard(
    name="vssl-cosine",
    title="Variational self-supervised learning, cosine",
    family="selfsup",
    home="selfsup/fashion-mnist",
    paper="022",
    cite="Yavuz and Yanikoglu 2025",
    defaults="convention",
)


class CosineVSSL(VSSL):
    """One variance for an image."""

    def variances(self) -> int:
        return 1

    def scaled(self, mean: Tensor) -> Tensor:
        """Means of length sqrt(d)."""
        return F.normalize(mean) * math.sqrt(mean.shape[1])

    def term(self, seen: Seen, target: Seen) -> Tensor:
        cosine = (seen.prediction * target.embedding).mean(1, keepdim=True)
        squared = 2 * (1 - cosine)
        terms = likelihood(self.config.likelihood, squared, seen.spread, target.spread)
        return (terms + self.config.weight * divergence(squared, seen.spread, target.spread)).mean()
