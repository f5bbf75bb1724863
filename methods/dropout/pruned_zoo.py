"""Magnitude pruning of a zoo, each network at several ratios, with fine-tuning (Han et al. 2015; Honegger, Schuerholt and Borth 2023).

    m_r = 0 for the share r of a layer's weights of least |w|, 1 for others,     L = sum_{r, g} (1/B) sum_i CE(f(x_i; m_r w_{r,g}), y_i)

The mask is set once, from the trained weights; those that survive go on from there with the optimiser of the zoo. Ratios are fine-tuned
side by side. Biases are kept.

Differences from the paper: each layer by itself and the length of fine-tuning, which the paper has but could not be verified here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Range
from elboard.bench.task import Batch
from elboard.methods.dropout.zoo_networks import Twins

CARD = MethodCard(
    name="pruned-zoo",
    title="Magnitude pruning of a zoo",
    family="dropout",
    home="compression/mnist-zoo",
    paper="001",
    cite="Honegger et al. 2023; Han et al. 2015",
    bases={"zoo": {"method": "cnn-zoo"}},
    splits=True,
    defaults="convention",
)


def smallest(weights: Tensor, share: float) -> Tensor:
    """1 for weights ``(G, n)`` that are kept, 0 for the rounded ``share`` of each row that are least in absolute value."""
    order = weights.abs().argsort(dim=1, stable=True)[:, : round(share * weights.shape[1])]
    return torch.ones_like(weights).scatter(1, order, 0.0)


class PrunedZoo(Twins):
    """Versions: the originals, then by ratio.

    Attributes:
        theta, mask: of all ratios, ``(R G, P)``; those of each activation beside each other.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        ratios: list[Annotated[float, Range(0, below=1)]] = field(default_factory=lambda: [0.5, 0.7, 0.8, 0.9, 0.95])

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if config.ratios != sorted(config.ratios) or not config.ratios:
            raise UserError(f"ratios={config.ratios}: in growing order, at least one")
        self.zoo, self.half = self.base.zoo, len(self.base.theta) // 2
        theta, rows = self.base.theta.detach(), []
        for half in theta.split(self.half):
            rows += [self.masked(half, ratio) for ratio in config.ratios]
        self.register_buffer("mask", torch.cat(rows))
        self.theta = nn.Parameter(torch.cat([half for half in theta.split(self.half) for _ in config.ratios]))

    def masked(self, theta: Tensor, ratio: float) -> Tensor:
        """The mask of networks ``(G, P)``, layer by layer."""
        pieces = theta.split(self.zoo.sizes, dim=1)
        return torch.cat([smallest(of, ratio) if i % 2 == 0 else torch.ones_like(of) for i, of in enumerate(pieces)], 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.errors(self.theta * self.mask, batch)

    def versions(self) -> Tensor:
        of = (self.theta.detach() * self.mask).view(2, len(self.config.ratios), self.half, -1).transpose(1, 2)
        return torch.cat((self.base.theta.detach()[None], of.flatten(0, 1).transpose(0, 1)))
