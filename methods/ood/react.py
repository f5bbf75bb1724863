"""Rectified activations (Sun, Guo and Li 2021).

    ReAct(z; c) = min(z, c),   score(x) = E of the logits W ReAct(z; c) + b,   c = the eta-quantile of all training activations

One c for all features, from the activations of all dimensions together: out-of-distribution images raise few units far above what training
images reach, and these raise the logits. With c beyond every activation it is the energy score.
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
from elboard.methods.ood.base import quantile
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="react",
    title="Activations clipped from above, then energy",
    family="ood",
    home="ood/digits",
    cite="Sun, Guo and Li 2021",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class ReAct(Energy):
    """Attributes: threshold: c, a tensor without dimensions."""

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        eta: Share = 0.9  # section 4.1: the 90th percentile

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("threshold", torch.tensor(float("inf")))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        self.threshold.copy_(quantile(features.flatten(), self.config.eta))

    def rectify(self, features: Tensor) -> Tensor:
        return features.minimum(self.threshold)
