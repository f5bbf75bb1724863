"""Invariant risk minimisation, IRMv1 (Arjovsky, Bottou, Gulrajani and Lopez-Paz 2019, section 3.1).

    B = mean over domains with labels of  g_d^2,     g_d = d/dw CE_d(y, w head(z)) at w = 1  =  E_d[ (softmax(a) - onehot(y)) . a ]

a are logits. A classifier that is optimal on top of the code in each domain has none. For g_d^2 stands the product of the g_d of two halves
of a domain's images (appendix D), which has its mean: the square over a batch would have the variance of g_d in it. The weight is 1 for
the first ``anneal`` of training and ``weight`` from there on, where the whole loss is divided by it so that gradients stay as large.

Differences from the paper: the network is the task's; weight and ``anneal`` are those of DomainBed (100, after 500 of 5,000 steps), whose
optimiser begins anew there, and this one does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Share
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod

CARD = MethodCard(
    name="irm",
    title="Invariant risk minimisation",
    family="domains",
    home="domains/colored-mnist",
    cite="Arjovsky, Bottou, Gulrajani and Lopez-Paz 2019",
    defaults="library",
)


class IRM(DomainMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DomainMethod.Config):
        weight: NonNegative = 100.0
        anneal: Share = 0.1

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        y, known = batch["y"], batch["y"] >= 0
        target = F.one_hot(y.clamp(min=0), logits.shape[1])
        each = ((logits.softmax(1) - target) * logits).sum(1).where(known, 0)
        domains = F.one_hot(batch["domain"], self.spec.domains) * known[:, None]
        second = domains.cumsum(0) % 2 == 0  # every other image of a domain
        halves = torch.stack([domains * ~second, domains * second]).to(each)  # (2, B, D)
        counts = halves.sum(1)
        slopes = (each @ halves) / counts.clamp(min=1)
        return slopes.prod(0).sum() / (counts > 0).all(0).sum().clamp(min=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out = self.parts_of(self.codes(batch["x"]), batch)
        weight = self.config.weight if self.progress >= self.config.anneal else 1.0
        return {**out, "loss": (out["error"] + weight * out["penalty"]) / max(1.0, weight)}
