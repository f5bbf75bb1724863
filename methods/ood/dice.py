"""Directed sparsification (Sun and Li 2022), then energy.

    V_cj = W_cj mean of z_j over training images,   z = f(x)
    M_cj = 1 where V_cj is among the largest share 1 - p of all, else 0
    score(x) = E of the logits (M * W) z + b

The weights that contribute little to any class on training images add noise, more of it out of distribution. One threshold for all classes;
with p = 0 it is the energy score. What equals the threshold is pruned, as in the official code: more than p where it is 0, the contribution
of units that never fire.

Differences from the paper: it chooses p on noise (0.9 for CIFAR, 0.7 for ImageNet); here it is that of CIFAR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Range
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import quantile
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="dice",
    title="Weights of small contribution set to 0, then energy",
    family="ood",
    home="ood/digits",
    cite="Sun and Li 2022",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class DICE(Energy):
    """Attributes: mask: M, ``(C, D)``."""

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        p: Annotated[float, Range(0, below=1)] = 0.9  # CIFAR; OpenOOD

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("mask", torch.ones(spec.n_classes, self.base.backbone.n_features))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        contribution = self.last_layer()[0] * features.double().mean(0)
        self.mask.copy_(contribution > quantile(contribution.flatten(), self.config.p) if self.config.p else torch.ones_like(contribution))

    def logits(self, features: Tensor) -> Tensor:
        head = self.base.head
        return F.linear(features, head.weight * self.mask, head.bias)
