"""Contrastive adversarial domain bottleneck, CAD (Ruan, Dubois and Maddison 2022, section 4.2).

    p(j|i) = e^(z_i . z_j / tau) / sum_{k != i} e^(z_i . z_k / tau),      q(d_i | z_i) = sum_{j != i: d_j = d_i} p(j|i)
    B = -mean_i log sum_{j: d_j != d_i} p(j|i)              (flipped, the one in use: more stable, of the same optimum)
    B =  mean_i log q(d_i | z_i)                            (``flipped=false``)

q is a classifier of domains that the batch is itself, without parameters, so that nothing is maximised within: to make an image's own
domain unpredictable among its neighbours lowers I(Z; D). Codes whose law does not depend on the domain are the optimum, as are constant
ones: a large ``weight`` ends there. An image without a partner that the sum is of is left out of the mean.

Differences from the paper: networks and data are the task's, with tau of its runs on DomainBed, and the weight is ours, within the paper's
range of 1e-4 to 1e2 (1e-2 with CLIP there, 1e-5 at best on DomainBed); scores are of codes as they are, as by default there.
Where a task shows images of the targets without labels they are in B like the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod, log_sum, mean_of_valid

CARD = MethodCard(
    name="cad",
    title="Contrastive adversarial domain bottleneck",
    family="domains",
    home="domains/rotated-mnist",
    paper="057",
    cite="Ruan, Dubois and Maddison 2022",
    defaults="convention",
)


class CAD(DomainMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DomainMethod.Config):
        weight: NonNegative = 0.1
        temperature: Positive = 0.1  # tau
        flipped: bool = True

    def candidates(self, logits: Tensor, batch: Batch) -> Tensor:
        """Which j are in the sums of i, ``(B, B)``: all others."""
        return ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        scores, domain = z @ z.T / self.config.temperature, batch["domain"]
        candidates, same = self.candidates(logits, batch), domain[:, None] == domain
        every, _ = log_sum(scores, candidates)
        part, some = log_sum(scores, candidates & (same != self.config.flipped))
        return mean_of_valid(every - part if self.config.flipped else part - every, some)
