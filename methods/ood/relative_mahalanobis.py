"""Relative Mahalanobis distance (Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan 2021).

    MD_c(z) = (z - mu_c)^T Sigma^-1 (z - mu_c)        of class c, as in methods/ood/mahalanobis.py
    MD_0(z) = (z - mu_0)^T Sigma_0^-1 (z - mu_0)      of one Gaussian fitted to all training features
    score(x) = min_c MD_c(z) - MD_0(z),   z = f(x)

What all classes share, in which near-OOD images do not differ, cancels.

Differences from the paper: with the pseudo-inverses of methods/ood/mahalanobis.py. Variances that are too small to be inverted are the same
in both, so that they cancel too: in Sigma_0 the means of the classes are far apart, and beside its largest variance more would be small.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.ood.mahalanobis import Mahalanobis, class_means, whitening

CARD = MethodCard(
    name="relative-mahalanobis",
    title="Mahalanobis distance from the nearest class, relative to all",
    family="ood",
    home="ood/digits",
    cite="Ren et al. 2021",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)


class RelativeMahalanobis(Mahalanobis):
    """Attributes: mean_of_all: mu_0, ``(D,)``; white_of_all: A with A A^T = Sigma_0^-1, ``(D, D)``."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("mean_of_all", torch.zeros_like(self.means[0]))
        self.register_buffer("white_of_all", torch.eye(len(self.white)))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        super().learn(features, labels)
        features = features.double()
        mean, means = features.mean(0), class_means(features, labels, len(self.means))
        self.mean_of_all.copy_(mean)
        self.white_of_all.copy_(whitening(features - mean, within=features - means[labels]))

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        from_all = ((features - self.mean_of_all) @ self.white_of_all).square().sum(1)
        return super().score(features, logits) - from_all
