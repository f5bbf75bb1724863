"""Distance from the k-th nearest training image (Sun, Ming, Zhu and Li 2022), in normalised features.

    u(x) = f(x) / ||f(x)||,   score(x) = || u(x) - u_(k) ||,   u_(k) = the k-th nearest among the training images' u

No assumption on how features are distributed. u of an image without activations is 0, at a distance of 1 from the sphere.

Differences from the paper: it chooses k on validation data (50 for CIFAR-10, 200 for CIFAR-100, 1,000 for ImageNet); here its smallest is
used. The classifier's features, without contrastive training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="knn",
    title="Distance from the k-th nearest training image",
    family="ood",
    home="ood/digits",
    cite="Sun, Ming, Zhu and Li 2022",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class KNN(PostHoc):
    """Attributes: known: u of the training images, ``(N, D)``."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        k: Count = 50  # CIFAR-10; OpenOOD. Of fewer training images the furthest

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("known", torch.zeros(spec.n_train, self.base.backbone.n_features))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        self.known.copy_(F.normalize(features))

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        u = F.normalize(features)
        squared = self.known.square().sum(1) - 2 * u @ self.known.T  # up to that of u
        nearest = squared.topk(min(self.config.k, len(self.known)), dim=1, largest=False).indices[:, -1]
        return (u - self.known[nearest]).norm(dim=1)  # of the difference: from the product it would lose small distances
