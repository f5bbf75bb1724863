"""Backward correction of the loss (Patrini, Rozza, Menon, Nock and Qu 2017, theorem 1).

    L(x, y) = sum_j (T^-1)_yj l_j(x),   l_j = - log p_j(x),   T_ij = P(given = j | true = i)

is unbiased: sum_y T_iy L(x, y) = l_i(x), the loss at the true label. T is estimated as in forward correction, by anchors.

T^-1 has negative entries, so that single losses are not bounded from below, and a network that can learn by heart is paid for probabilities
close to 0. ``blend`` mixes the identity into T before inversion, which the paper advises where T is nearly singular, as a more conservative
prior; 0, the default, does not.

Differences from the paper: those of forward correction; the pseudo-inverse where T has no inverse, as when two classes share an anchor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Share
from elboard.bench.task import DataSpec
from elboard.methods.noisy.transition import Corrected

CARD = MethodCard(
    name="backward-correction",
    title="Backward correction by an estimated transition matrix",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Patrini et al. 2017",
    bases={"first": {"method": "softmax", "set": {"train.keep": "best"}}},
    splits=True,
    defaults="paper",
)


class BackwardCorrection(Corrected):
    """Attributes: inverse: that of T, ``(C, C)``."""

    @dataclass(kw_only=True)
    class Config(Corrected.Config):
        blend: Share = 0.0  # share of the identity in the matrix that is inverted

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("inverse", torch.eye(spec.n_classes))

    def adopt(self, transition: Tensor) -> None:
        super().adopt(transition)
        t = transition.cpu().double()
        self.inverse.copy_(torch.linalg.pinv(torch.lerp(t, torch.eye(len(t), dtype=t.dtype), self.config.blend), rtol=1e-6))

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        return -(self.inverse[y] * logits.log_softmax(1)).sum(1)
