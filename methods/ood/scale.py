"""Scaled activations (Xu, Chen, Franchi and Yao 2024), then energy.

    r = sum of z / sum of the z that are left where the smallest share p is pruned,   z = f(x)
    score(x) = E of the logits W z exp(r) + b

ASH-S without its pruning, which the paper finds to harm. r is larger for images with few activations far above the rest. With p = 0 all are
scaled by e.

Differences from the paper: without its training (ISH).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Range
from elboard.methods.ood.base import n_kept, refuse_negative
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="scale",
    title="Activations scaled by their concentration, then energy",
    family="ood",
    home="ood/digits",
    cite="Xu, Chen, Franchi and Yao 2024",
    bases={"classifier": {"method": "softmax"}},
    defaults="library",
)


class SCALE(Energy):
    """Raises UserError in ``fit`` for a base with negative features, whose sums say nothing of their concentration."""

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        p: Annotated[float, Range(0, below=1)] = 0.85  # OpenOOD

    def learn(self, features: Tensor, labels: Tensor) -> None:
        refuse_negative(features, "scale")

    def rectify(self, features: Tensor) -> Tensor:
        largest = features.topk(n_kept(features.shape[1], self.config.p), dim=1).values
        r = features.sum(1, keepdim=True) / largest.sum(1, keepdim=True).clamp_min(1e-12)  # where all are 0: 0
        return features * r.exp()
