"""Mahalanobis distance from the nearest class (Lee, Lee, Lee and Shin 2018), of the penultimate features.

    mu_c = mean of z over class c,   Sigma = (1/N) sum_c sum_{i: y_i = c} (z_i - mu_c) (z_i - mu_c)^T          eq. 1
    score(x) = min_c (z - mu_c)^T Sigma^-1 (z - mu_c),   z = f(x)                                              eq. 2

As of classes that are Gaussian with one covariance, which a softmax classifier's posterior is that of. Sigma^-1 is a pseudo-inverse, as in
the paper's code (scikit-learn's on float32): directions whose variance is below D x 1.2e-7 of the largest, such as units that never fire,
count for nothing.

Differences from the paper: of one layer, without the step of the input and the logistic regression over layers, both of which are fitted to
OOD data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="mahalanobis",
    title="Mahalanobis distance from the nearest class",
    family="ood",
    home="ood/digits",
    cite="Lee et al. 2018",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)


def whitening(centred: Tensor, within: Tensor | None = None) -> Tensor:
    """A ``(D, D)`` with A A^T the pseudo-inverse of the covariance of ``centred`` (N, D).

    What is too small to be inverted is so beside the largest variance of ``within`` (N, D), of ``centred`` itself if None.
    """
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    largest = variances.max() if within is None else torch.linalg.eigvalsh(within.T @ within / len(within)).max()
    kept = variances > largest * len(variances) * torch.finfo(torch.float32).eps
    return axes * torch.where(kept, variances.clamp_min(0).rsqrt(), 0.0)


def class_means(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """``(C, D)``; NaN of a class without images."""
    return torch.stack([features[labels == c].mean(0) for c in range(n_classes)])


class Mahalanobis(PostHoc):
    """Attributes: means: mu, ``(C, D)``; white: A with A A^T = Sigma^-1, ``(D, D)``."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        width = self.base.backbone.n_features
        self.register_buffer("means", torch.zeros(spec.n_classes, width))
        self.register_buffer("white", torch.eye(width))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        features = features.double()
        means = class_means(features, labels, len(self.means))
        self.means.copy_(means)
        self.white.copy_(whitening(features - means[labels]))

    def distances(self, features: Tensor) -> Tensor:
        """Squared distances ``(B, C)`` from the classes that training images have."""
        known = self.means[self.means.isfinite().all(1)]
        return torch.stack([((features - mean) @ self.white).square().sum(1) for mean in known], dim=1)

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        return self.distances(features).min(1).values
