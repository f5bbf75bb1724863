"""Empirical risk minimisation: all images with labels pooled, whatever their domain (Vapnik 1998; DomainBed's first baseline).

    minimise  CE(y, head(z)) of images with labels

Images without labels are of no account. Differences from DomainBed: networks and sizes are the task's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Range
from elboard.bench.task import Batch
from elboard.methods.domains.base import DomainMethod

CARD = MethodCard(
    name="erm",
    title="Empirical risk minimisation over domains",
    family="domains",
    home="domains/rotated-mnist",
    cite="Vapnik 1998; Gulrajani and Lopez-Paz 2021",
    defaults="convention",
)


class ERM(DomainMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DomainMethod.Config):
        weight: Annotated[float, Range(0, 0)] = 0.0  # there is no penalty

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        return z.new_zeros(())
