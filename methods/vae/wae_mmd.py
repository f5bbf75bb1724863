"""Wasserstein autoencoder with the maximum mean discrepancy (Tolstikhin, Bousquet, Gelly and Scholkopf 2018, algorithm 2).

    L = mean_i c(x_i, g(f(x_i))) + lambda MMD^2(f(x_1..n), z_1..n),   z ~ N(0, I)
    k(a, b) = sum_s C s / (C s + |a - b|^2),   C = 2 Z,   s in {.1, .2, .5, 1, 2, 5, 10}      (the inverse multiquadratics of its code)

The estimate of the discrepancy is the unbiased one, without the diagonals of the two inner means. The code has no noise.

Differences from the paper: the family's dense network; c is minus the log-likelihood of the task (the cross-entropy of grey pixels), where
the paper has the squared error, and lambda is of that order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.multiquadrics import SCALES
from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="wae-mmd",
    title="Wasserstein autoencoder, MMD",
    family="vae",
    home="samples/mnist",
    cite="Tolstikhin et al. 2018",
    defaults="convention",
)


class WAE(Deterministic):
    """Trained on the reconstruction and the discrepancy of the codes from a standard normal law, from which samples come."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        latent_dim: int = 8  # Tolstikhin et al. 2018: of MNIST
        lambda_: NonNegative = 100.0

    def make_prior(self) -> Prior:
        return StandardNormal(self.config.latent_dim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        z = self.code(x)
        distortion, mmd = self.distortion(x, z).mean(), discrepancy(z, torch.randn_like(z))
        return {"loss": distortion + self.config.lambda_ * mmd, "distortion": distortion, "mmd2": mmd}


def discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased squared discrepancy of ``(n, Z)`` and ``(n, Z)``; of a single code the inner means are left out."""
    n, c = len(a), 2 * a.shape[1]  # C = 2 Z sigma^2 of a standard normal law

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = ((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T).clamp(min=0)
        return sum(c * s / (c * s + squared) for s in SCALES)

    within = (kernel(x, x) for x in (a, b))
    inner = sum((k.sum() - k.trace()) / max(1, n * (n - 1)) for k in within)  # a diagonal is all ones only up to rounding
    return inner - 2 * kernel(a, b).mean()
