"""Energy of the logits (Liu, Wang, Owens and Li 2020, eq. 4).

    E(x) = - T log sum_c exp(l_c / T),   l = W z + b,   z = f(x)

A classifier's logits are large for what it has seen, so the energy of out-of-distribution images is higher. Unlike the softmax it keeps the
logits' common level. Differences from the paper: without its fine-tuning on outliers (section 3.3), which needs OOD training data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Positive
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="energy",
    title="Energy score",
    family="ood",
    home="ood/digits",
    cite="Liu et al. 2020",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class Energy(PostHoc):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        temperature: Positive = 1.0  # T; section 3.2: "parameter-free" at 1

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        t = self.config.temperature
        return -t * torch.logsumexp(logits / t, dim=1)
