"""SimSiam as variational inference, with the uncertainty of each embedding (Nakamura, Okada and Taniguchi 2023).

    term = - log PS(sg z_2; mu_1, kappa_1),     kappa = (d - 1) softplus(u(f(x))) + 0.001

One latent generates all views of an image. Its posterior is the network: a power spherical density around mu, SimSiam's prediction of
length 1, with a concentration kappa that is predicted too; z is SimSiam's embedding. A view's kappa meets the other view's embedding alone.
For one expected cosine c the best kappa is about (d - 1) c / (1 - c) (:mod:`elboard.methods.parts.spherical`), so that it says how well
the other view can be predicted; with a constant kappa and a von Mises-Fisher density instead, the gradient is SimSiam's times kappa.

The uncertainty of an image is -kappa / (d - 1), of its un-augmented self; kappas of different models are not compared.

Differences from the paper: networks and optimiser of SimSiam here. The input and depth of u are not verified: it is
Linear(F, F / 4)-BN-ReLU-Linear(1) on the backbone's features. The factor d - 1 lets kappa reach the scale of its optimum, and ``cap``
bounds it where views agree, at 100 (d - 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.selfsup import UncertainViews
from elboard.bench.method import Bases
from elboard.bench.options import Positive
from elboard.bench.task import DataSpec
from elboard.methods.parts.spherical import power_spherical_log_prob
from elboard.methods.selfsup.base import Seen, layers
from elboard.methods.selfsup.simsiam import SimSiam

CARD = MethodCard(
    name="vi-simsiam",
    title="Variational simple siamese networks",
    family="selfsup",
    home="selfsup/fashion-mnist",
    paper="029",
    cite="Nakamura, Okada and Taniguchi 2023",
    defaults="convention",
)
LEAST = 1e-3


class VISimSiam(SimSiam, UncertainViews):
    """SimSiam with a head for kappa."""

    @dataclass(kw_only=True)
    class Config(SimSiam.Config):
        cap: Positive = 100.0  # of kappa / (d - 1)

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        n = self.backbone.n_features
        self.concentration = layers(n, n // 4, 1)

    def see(self, features: Tensor) -> Seen:
        """``spread`` is kappa, ``(B,)``."""
        scale = self.config.latent_dim - 1
        kappa = scale * F.softplus(self.concentration(features)[:, 0]) + LEAST
        return super().see(features)._replace(spread=kappa.clamp(max=self.config.cap * scale))

    def term(self, seen: Seen, target: Seen) -> Tensor:
        cosine = (seen.prediction * target.embedding).sum(1)
        return -power_spherical_log_prob(cosine, seen.spread, self.config.latent_dim).mean().float()

    def watched(self, seen: Seen) -> dict[str, Tensor]:
        return {"kappa": seen.spread.mean()}

    def uncertainty(self, x: Tensor) -> Tensor:
        return -self.see(self.backbone(x)).spread / (self.config.latent_dim - 1)
