"""Bootstrap your own latent (Grill et al. 2020).

    term = || q / |q| - z' / |z'| ||^2 = 2 - 2 cos(q, z'),     q = predictor(projector(f(x_1))),  z' of the other view by the teacher

The teacher is a moving average of backbone and projector and gets no gradient (:class:`elboard.methods.selfsup.base.Momentum`).

Differences from the paper: a small backbone, projector and predictor, d = 64; Adam instead of LARS; tau rises from 0.99 instead of 0.996,
for some hundreds of steps to an average that is not of the initial weights; the loss is the mean of both orders instead of their sum.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.selfsup.base import Momentum, Seen, layers

CARD = MethodCard(
    name="byol",
    title="Bootstrap your own latent",
    family="selfsup",
    home="selfsup/fashion-mnist",
    cite="Grill et al. 2020",
    defaults="convention",
)


class BYOL(Momentum):
    """A teacher and a predictor; embeddings of length 1."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        d = config.latent_dim
        self.projector = layers(self.backbone.n_features, config.hidden, d)
        self.predictor = layers(d, config.hidden, d)
        self.with_teacher()

    def see(self, features: Tensor) -> Seen:
        z = self.projector(features)
        return Seen(F.normalize(z), F.normalize(self.predictor(z)))

    def taught(self, x: Tensor) -> Seen:
        z = F.normalize(super().taught(x).embedding)
        return Seen(z, z)

    def term(self, seen: Seen, target: Seen) -> Tensor:
        return 2 - 2 * (seen.prediction * target.embedding).sum(1).mean()
