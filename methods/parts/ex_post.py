"""Ex-post density estimation of codes (Ghosh, Sajjadi, Vergari, Black and Schoelkopf 2020): what the prior of a trained autoencoder is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elboard.methods.parts.mixtures import GaussianMixture
from elboard.methods.parts.posteriors import Draw
from elboard.methods.parts.priors import Prior, StandardNormal


class ExPost(Prior):
    """N(0, I) until a mixture of Gaussians is fitted to codes, then that."""

    def __init__(self, latent_dim: int, components: int):
        super().__init__()
        self.mixture, self.normal = GaussianMixture(latent_dim, components), StandardNormal(latent_dim)
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def fit(self, means: Tensor) -> None:
        """To codes ``(N, Z)``."""
        self.mixture.fit(means, iterations=50)  # a mean log density that still rises then rises by little
        self.fitted.fill_(True)

    @property
    def now(self) -> Prior:
        return self.mixture if self.fitted else self.normal

    def sample(self, n: int, like: Tensor) -> Tensor:
        return self.now.sample(n, like)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.now.log_prob(z)

    def log_ratio(self, q: Any, draw: Draw) -> Tensor:
        return self.now.log_ratio(q, draw)

    def divergence(self, q: Any, draw: Draw) -> Tensor:
        return self.now.divergence(q, draw)
