"""Real-valued non-volume preserving flow (Dinh, Sohl-Dickstein and Bengio 2017): affine couplings, exact density.

    y_a = x_a,   y_b = x_b exp(s(x_a)) + t(x_a);     log p(x) = log N(f(x); 0, I) + sum of s of all couplings + log scales

a and b are every second dimension in turn; s is a hyperbolic tangent times a learned factor a dimension (section 4.1). Data are
standardised first, by the training set's mean and deviation, which counts in the density. Grey levels are dequantised by uniform noise.

Differences from the paper: dense layers for vectors instead of residual convolutions on images, no squeezing, no batch normalisation;
pixels are not taken to their logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import RealLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.networks import MLP

CARD = MethodCard(
    name="real-nvp",
    title="Real NVP, a flow of affine couplings",
    family="vae",
    home="density/toy-2d",
    cite="Dinh, Sohl-Dickstein and Bengio 2017",
    splits=True,
    defaults="convention",
)


class Coupling(nn.Module):
    """One affine coupling of vectors ``(B, D)``; ``keep`` (D,) is 1 for what passes through and decides on the rest."""

    def __init__(self, keep: Tensor, hidden: list[int], activation: str):
        super().__init__()
        self.register_buffer("keep", keep, persistent=False)
        self.body = MLP([len(keep), *hidden], activation)
        self.out = nn.Linear(self.body.n_features, 2 * len(keep))
        self.factor = nn.Parameter(torch.ones(len(keep)))
        nn.init.zeros_(self.out.weight)  # starts as the identity
        nn.init.zeros_(self.out.bias)

    def _terms(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.out(self.body(kept)).chunk(2, dim=1)
        return self.factor * torch.tanh(s) * (1 - self.keep), t * (1 - self.keep)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image and the log determinant ``(B,)``."""
        s, t = self._terms(x * self.keep)
        return x * torch.exp(s) + t, s.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        s, t = self._terms(y * self.keep)
        return (y - t) * torch.exp(-s)


class RealNVP(Method, Generator, RealLikelihood):
    """Trained on the exact log density."""

    exact = True

    @dataclass(kw_only=True)
    class Config(Method.Config):
        couplings: Count = 8
        hidden: list[Count] = field(default_factory=lambda: [128, 128])
        activation: Literal["relu", "tanh", "softplus", "elu", "silu"] = "relu"  # section 4: rectifiers

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.dimensions, self.grey = math.prod(spec.shape), spec.likelihood != "gaussian"
        every = (torch.arange(self.dimensions) % 2).float()
        masks = (every if i % 2 else 1 - every for i in range(config.couplings))
        self.couplings = nn.ModuleList(Coupling(mask, config.hidden, config.activation) for mask in masks)
        self.register_buffer("mean", torch.zeros(self.dimensions))
        self.register_buffer("deviation", torch.ones(self.dimensions))

    def prepare(self, data: Data) -> None:
        x = data.train["x"].flatten(1)
        self.mean, self.deviation = x.mean(0), x.std(0).clamp(min=0.1)  # constant dimensions stay as they are

    def log_density(self, x: Tensor) -> Tensor:
        """``(B,)`` of real vectors ``(B, D)``."""
        z, total = (x - self.mean) / self.deviation, -self.deviation.log().sum()
        for coupling in self.couplings:
            z, log_det = coupling(z)
            total = total + log_det
        return total - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1)

    def _values(self, x: Tensor) -> Tensor:
        x, levels = x.flatten(1), self.spec.levels
        return (x * (levels - 1) + torch.rand_like(x)) / levels if self.grey else x

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        log_p = self.log_density(self._values(batch["x"])).mean()
        return {"loss": -log_p, "elbo": log_p}

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        return self.log_density(x.flatten(1))

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """The log density: the code is a function of the example, so that there is no divergence to pay."""
        value = self.log_density(x.flatten(1))
        return {"elbo": value, "kl": torch.zeros_like(value), "reconstruction": -value}

    def sample(self, n: int) -> Tensor:
        x = torch.randn(n, self.dimensions, device=self.mean.device)
        for coupling in reversed(self.couplings):
            x = coupling.inverse(x)
        return (x * self.deviation + self.mean).unflatten(1, self.spec.shape)
