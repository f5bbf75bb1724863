"""Entropy bottleneck for domains (Ruan, Dubois and Maddison 2022, section 4.2; the rate of Balle et al. 2018).

    z~ = z e^s + u,  u ~ U(-1/2, 1/2)         B = -log q(z~),  summed over dimensions
    minimise  CE(y, head(z~ e^-s)) of images with labels  +  weight B

H(Z) bounds I(Z; D), so that what a code does not need for the task is to go, whatever of it tells the domain: the bottleneck knows no
domains. q is a learned density of each dimension, s learned scales that begin at log 10, and u stands for rounding, which has no gradient.

Differences from the paper: networks and data are the task's; tests are of z without noise. The weight is ours, where it is 1 with CLIP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.domains import DomainSpec
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod, labelled_error
from elboard.methods.parts.entropy_models import FactorisedDensity

CARD = MethodCard(
    name="ent-bottleneck",
    title="Entropy bottleneck over domains",
    family="domains",
    home="domains/rotated-mnist",
    paper="057",
    cite="Ruan, Dubois and Maddison 2022",
    defaults="convention",
)


class EntropyBottleneck(DomainMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DomainMethod.Config):
        weight: NonNegative = 1e-3

    def __init__(self, config: Any, spec: DomainSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.scale = nn.Parameter(torch.full((config.code_dim,), math.log(10.0)))  # s
        self.density = FactorisedDensity(config.code_dim)

    def noisy(self, z: Tensor) -> Tensor:
        """z~, in units of a step."""
        return z * self.scale.exp() + torch.rand_like(z) - 0.5

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        noisy = self.noisy(self.codes(batch["x"]))
        error = labelled_error(self.logits(noisy / self.scale.exp()), batch["y"])
        rate = -self.density.log_mass(noisy).mean()
        return {"loss": error + self.config.weight * rate, "error": error, "rate": rate}
