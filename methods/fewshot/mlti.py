"""Meta-learning with task interpolation, on prototypes (MLTI; Yao, Zhang and Finn 2022, section 4.2).

    H_new = lambda H_i + (1 - lambda) H_j,     lambda ~ Beta(alpha, alpha),     H: what a random block is given, of support and query alike

A new task is made of two, of which class k of one is mixed with a class of the other. The released code for images mixes the images
themselves, by CutMix (``space="images"``), and takes half of the tasks as they are: ``mixed`` is the share of the others.

Differences from the paper: whether to mix is drawn for a batch, in the code for each task; the box of CutMix is the same one for support
and query, where the code draws its place anew. The base learner is ProtoNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Share
from elboard.methods.fewshot.base import Interpolating, partners

CARD = MethodCard(
    name="mlti",
    title="Task interpolation (MLTI) on prototypes",
    family="fewshot",
    home="fewshot/omniglot",
    cite="Yao, Zhang and Finn 2022",
    defaults="library",
)


class MLTI(Interpolating):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Interpolating.Config):
        space: Literal["features", "images"] = "features"
        mixed: Share = 0.5  # of batches; released code

    def train_features(self, x: Tensor, shot: int) -> dict[str, Tensor]:
        if torch.rand(()) >= self.config.mixed:
            return {"features": self.embed(x)}
        if self.config.space == "images":
            return {"features": self.embed(self.cut(x))}
        return {"features": self.interpolated(x, self.shares(x), int(torch.randint(len(self.blocks), ())))}

    def interpolated(self, x: Tensor, shares: Tensor, level: int) -> Tensor:
        """Features ``(M, W, N, F)`` of images ``(M, W, N, C, H, W)`` that are mixed with their partners before block ``level``."""
        own = shares.view(-1, 1, 1, 1, 1, 1)
        for i, block in enumerate(self.blocks):
            x = block(own * x + (1 - own) * partners(x) if i == level else x)
        return x.flatten(-3)
