"""Deep CORAL: means and covariances of codes alike in all domains (Sun and Saenko 2016; as DomainBed has it).

    B = mean over pairs of domains of  mean_k (m_k - m'_k)^2 + mean_kl (C_kl - C'_kl)^2

m and C are means and covariances of the codes of a domain in the batch; those with one image there have no covariance and are left out.

Differences from the paper: means too, and means over entries instead of sums over 4 Z^2, as in DomainBed, whose weight of 1 is the default;
all domains of the batch count, those without labels too.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod

CARD = MethodCard(
    name="coral",
    title="Deep CORAL",
    family="domains",
    home="domains/rotated-mnist",
    cite="Sun and Saenko 2016",
    defaults="library",
)


class CORAL(DomainMethod):
    """See the module."""

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        groups = [z[batch["domain"] == d] for d in range(self.spec.domains)]
        moments = [(of.mean(0), torch.cov(of.T)) for of in groups if len(of) > 1]
        pairs = [(m - n).square().mean() + (c - d).square().mean() for (m, c), (n, d) in combinations(moments, 2)]
        return torch.stack(pairs).mean() if pairs else z.sum() * 0
