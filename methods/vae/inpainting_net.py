"""Deterministic inpainting network: the mean of each pixel that is not seen, given those that are (Pathak et al. 2016, without an
adversary).

    minimise  E_{x, y}[ - sum over pixels not seen of log Bernoulli(x_i; f_i(y)) ]

Pixels are independent given y, so that all completions of an image are one: the mean over what it could be.

Differences from the paper: fully connected, on binary pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.inpainting import Inpainter
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.networks import MLP
from elboard.methods.vae.completing import log_prob, seen

CARD = MethodCard(
    name="inpainting-net",
    title="Deterministic inpainting network",
    family="vae",
    home="inpainting/mnist",
    cite="Pathak et al. 2016",
    splits=True,
    defaults="convention",
)


class InpaintingNet(Method, Inpainter):
    """Trained on the cross-entropy of the pixels that are not seen."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [200, 200])  # the encoders' of what it is compared with

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        pixels = math.prod(spec.shape)
        self.features = MLP([2 * pixels, *config.hidden], "tanh")
        self.out = nn.Linear(self.features.n_features, pixels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.log_missing(batch["x"], batch["mask"], 1).mean()}

    def log_missing(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        return log_prob(x.flatten(1), self.out(self.features(seen(x, mask))), (1 - mask).expand_as(x).flatten(1))

    def complete(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        mean = self.out(self.features(seen(x, mask))).sigmoid().unflatten(-1, self.spec.shape)
        return torch.where(mask > 0, x, mean)[:, None].expand(-1, k, *x.shape[1:])
