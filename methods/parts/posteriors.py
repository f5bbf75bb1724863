"""Approximate posteriors q(z|x): a module that turns the encoder's features into a distribution, and that distribution.

Another posterior gives a distribution with ``mean``, ``logvar``, ``sample`` and ``log_prob``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Draw:
    """Samples z ``(B, Z)`` or ``(B, k, Z)`` of a posterior, and the noise of the same shape from which they were made."""

    z: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Gaussian:
    """N(mean, diag exp(logvar)) for each example, both ``(B, Z)``."""

    mean: Tensor
    logvar: Tensor

    def sample(self, k: int = 0) -> Draw:
        """One sample an example, ``(B, Z)``, or k of them, ``(B, k, Z)``: z = mean + sigma eps, eps ~ N(0, I)."""
        std = torch.exp(0.5 * self.logvar)
        if not k:
            noise = torch.randn_like(self.mean)
            return Draw(self.mean + noise * std, noise)
        noise = torch.randn(len(self.mean), k, self.mean.shape[-1], device=self.mean.device, dtype=self.mean.dtype)
        return Draw(self.mean[:, None] + noise * std[:, None], noise)

    def log_prob(self, draw: Draw) -> Tensor:
        """log q(z|x) of the samples, ``(B,)`` or ``(B, k)``."""
        logvar = self.logvar if draw.noise.ndim == 2 else self.logvar[:, None]
        return -0.5 * (draw.noise**2 + logvar + math.log(2 * math.pi)).sum(-1)


class DiagonalGaussian(nn.Linear):
    """Mean and log-variance as linear functions of the features ``(B, n_features)``."""

    def __init__(self, n_features: int, latent_dim: int):
        super().__init__(n_features, 2 * latent_dim)

    def forward(self, features: Tensor) -> Gaussian:
        mean, logvar = super().forward(features).chunk(2, dim=-1)
        return Gaussian(mean, logvar.clamp(-12.0, 12.0))  # exp neither overflows nor underflows


class GaussianLayers(nn.Sequential):
    """Hidden layers of leaky rectifiers and a Gaussian of ``outputs`` dimensions, whose log-variances are held between ``logvar``: the
    prior of other codes must not shrink to a point, where the divergence has no bound."""

    def __init__(self, inputs: int, hidden: list[int], outputs: int, logvar: tuple[float, float]):
        layers: list[nn.Module] = []
        for a, b in zip([inputs, *hidden], hidden, strict=False):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
        super().__init__(*layers, DiagonalGaussian([inputs, *hidden][-1], outputs))
        self.bounds = logvar

    def forward(self, x: Tensor) -> Gaussian:
        found = super().forward(x)
        return Gaussian(found.mean, found.logvar.clamp(*self.bounds))
