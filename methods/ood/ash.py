"""Activation shaping (Djurisic, Bozanic, Ashok and Liu 2023): ASH-P, ASH-B and ASH-S, then energy.

Of each image the smallest share p of the activations z = f(x) is pruned, and what is left is shaped:

    ASH-P: z' = z where kept, else 0
    ASH-B: z' = s_1 / n where kept, else 0,   s_1 = sum of z, n = number that is kept, of those above 0
    ASH-S: z' = z exp(s_1 / s_2) where kept, else 0,   s_2 = sum of the z that are kept
    score(x) = E of the logits W z' + b

Thresholds are of the image itself, so that nothing is learned from training images. ASH-P with p = 0 is the energy score. The paper's best
variant and p differ between networks; the defaults are those of ResNet-50 on ImageNet.

Differences from the paper: where fewer activations are above 0 than are kept, its code for ASH-B raises zeros too, whichever the sort gives
it; here none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Range
from elboard.methods.ood.base import n_kept, refuse_negative
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="ash",
    title="Activations pruned and shaped, then energy",
    family="ood",
    home="ood/digits",
    cite="Djurisic et al. 2023",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class ASH(Energy):
    """Raises UserError in ``fit`` for a base with negative features, whose sums say nothing of how much is pruned."""

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        variant: Literal["p", "b", "s"] = "s"
        p: Annotated[float, Range(0, below=1)] = 0.9  # ASH-S@90 of ResNet-50; OpenOOD

    def learn(self, features: Tensor, labels: Tensor) -> None:
        refuse_negative(features, "ash")

    def rectify(self, features: Tensor) -> Tensor:
        kept, where = features.topk(n_kept(features.shape[1], self.config.p), dim=1)
        total = features.sum(1, keepdim=True)
        if self.config.variant == "b":
            above = (kept > 0).to(kept.dtype)
            kept = above * total / above.sum(1, keepdim=True).clamp_min(1)
        elif self.config.variant == "s":
            kept = kept * (total / kept.sum(1, keepdim=True).clamp_min(1e-12)).exp()  # where all are 0: 0
        return torch.zeros_like(features).scatter(1, where, kept)
