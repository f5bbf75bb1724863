"""Simple siamese representation learning (Chen and He 2021).

    term = - cos( h(g(f(x_1))), sg(g(f(x_2))) )

f is the backbone, g a projector of three layers with batch normalisation after each, the last one's without scale and shift; h a predictor
with a bottleneck; sg stops the gradient. Without sg or h all embeddings become one.

Differences from the paper: a small backbone, d = 128 instead of 2048 with a bottleneck of 32, Adam instead of SGD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import DataSpec
from elboard.methods.selfsup.base import Seen, Siamese, layers

CARD = MethodCard(
    name="simsiam",
    title="Simple siamese networks",
    family="selfsup",
    home="selfsup/fashion-mnist",
    cite="Chen and He 2021",
    defaults="convention",
)


class SimSiam(Siamese):
    """A predictor, and targets without gradient; embeddings of length 1."""

    @dataclass(kw_only=True)
    class Config(Siamese.Config):
        latent_dim: Count = 128
        bottleneck: Count = 32

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        d = config.latent_dim
        self.projector = layers(self.backbone.n_features, config.hidden, config.hidden, d)
        self.projector.append(nn.BatchNorm1d(d, affine=False))
        self.predictor = layers(d, config.bottleneck, d)

    def see(self, features: Tensor) -> Seen:
        z = self.projector(features)
        return Seen(F.normalize(z), F.normalize(self.predictor(z)))

    def term(self, seen: Seen, target: Seen) -> Tensor:
        return -(seen.prediction * target.embedding).sum(1).mean()
