"""Variational rectified activation (Xu, Lian, Liu and Tao 2023): VRA, VRA+ and VRA++.

The operation that separates in- from out-of-distribution features best while it stays close to the identity is, for each feature,
g*(z) = z + lambda (1 - p_out(z) / p_in(z)): it suppresses abnormally low and high activations and amplifies those between. Approximated by

    g(z) = 0            if z < alpha
           z + gamma    if alpha <= z <= beta
           beta         if z > beta
    score(x) = - log sum_c exp(W g(z) + b)_c + a sum_j (z_j - m)^2

alpha and beta are quantiles of the training features, of each dimension by itself as in the official code for CIFAR; z in the quadratic
term is not rectified. The variants of the paper and their settings on CIFAR-10 with a DenseNet:

    VRA     alpha_quantile 0.6, beta_quantile 0.9                                (the defaults)
    VRA+    0.6, 0.95, gamma = 0.6
    VRA++   0.5, 0.85, quadratic (a) = 0.01, m = 4

gamma, a and m are in units of the features, so that other networks need other values: with ``units=mean`` features count in multiples of
the mean of all training features, gamma is one of these and the quadratic term is a sum_j (z_j / mean - m)^2. Where more than a share
alpha_quantile of the training images leaves a unit at 0, its alpha is 0: nothing of it is cut, and an activation of 0 is in the middle
branch. With alpha_quantile = 0 only what is below all training features of its dimension is cut.

Differences from the paper: ``units=mean`` is ours; the oracle g* (VRA-True), which needs OOD data, is a file of its own, vra_true.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Share
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import quantile, refuse_negative
from elboard.methods.ood.energy import Energy

CARD = MethodCard(
    name="vra",
    title="Variational rectified activation",
    family="ood",
    home="ood/digits",
    paper="069",
    cite="Xu et al. 2023",
    bases={"classifier": {"method": "softmax"}},
    defaults="paper",
)


class VRA(Energy):
    """Attributes: alpha, beta: thresholds of the features, ``(D,)``. unit: what gamma and m are multiples of, a tensor without dimensions.

    Raises UserError in ``fit`` for a base with negative features, for which a cut towards 0 is no suppression.
    """

    @dataclass(kw_only=True)
    class Config(Energy.Config):
        alpha_quantile: Share = 0.6
        beta_quantile: Share = 0.9
        gamma: NonNegative = 0.0  # above 0: VRA+
        quadratic: NonNegative = 0.0  # a; above 0: VRA++
        m: float = 4.0
        units: Literal["features", "mean"] = "features"  # of gamma and m: 1, or the mean training feature

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if config.alpha_quantile > config.beta_quantile:
            raise UserError(f"alpha_quantile={config.alpha_quantile} is above beta_quantile={config.beta_quantile}")
        width = self.base.backbone.n_features
        self.register_buffer("alpha", torch.zeros(width))
        self.register_buffer("beta", torch.full((width,), float("inf")))
        self.register_buffer("unit", torch.ones(()), persistent=config.units == "mean")

    def learn(self, features: Tensor, labels: Tensor) -> None:
        refuse_negative(features, "vra")
        self.alpha.copy_(quantile(features, self.config.alpha_quantile))
        self.beta.copy_(quantile(features, self.config.beta_quantile))
        if self.config.units == "mean":
            self.unit.copy_(features.mean(dtype=torch.float64))

    def rectify(self, features: Tensor) -> Tensor:
        upper = torch.where(features > self.beta, self.beta, features + self.config.gamma * self.unit)
        return torch.where(features < self.alpha, 0.0, upper)

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        return super().score(features, logits) + self.config.quadratic * ((features / self.unit - self.config.m) ** 2).sum(1)
