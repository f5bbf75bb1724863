"""Domain-adversarial training, DANN (Ganin et al. 2016).

    minimise over the code and the head   CE(y, head(z)) - weight CE(d, D(z)),      over D   CE(d, D(z))

D is a network that tells the domain of a code. One optimiser steps all: neither of the last two terms has gradients for the other's
weights. The equilibrium is that of I(Z; D) = 0, as of CAD, but what is maximised within is a network of its own.

Differences from the paper: the weight is constant, as in DomainBed, whose default of 1 it is, where the paper's rises from 0 over training,
as 2 / (1 + e^(-10 progress)) - 1; DomainBed's D has steps of its own in turn with those of the code, and here both move in each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.domains import DomainSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod
from elboard.methods.parts.critics import held
from elboard.methods.parts.networks import MLP

CARD = MethodCard(
    name="dann",
    title="Domain-adversarial neural network",
    family="domains",
    home="domains/rotated-mnist",
    cite="Ganin et al. 2016",
    defaults="library",
)


class DANN(DomainMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DomainMethod.Config):
        hidden: Count = 256  # units of D

    def __init__(self, config: Any, spec: DomainSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.discriminator = nn.Sequential(MLP([config.code_dim, config.hidden]), nn.Linear(config.hidden, spec.domains))

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Minus the discriminator's error, as the codes see it; its own gradient is in ``loss``."""
        return -F.cross_entropy(held(self.discriminator, z), batch["domain"])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.codes(batch["x"])
        out = self.parts_of(z, batch)
        told = F.cross_entropy(self.discriminator(z.detach()), batch["domain"])
        return {**out, "loss": out["loss"] + told, "discriminator": told}
