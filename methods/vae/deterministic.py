"""What deterministic autoencoders share: a code without noise, and a mixture of Gaussians fitted to the codes after training.

    z = f(x),   x^ = g(z),   samples g(z) with z from the density fitted to f(training examples)

Ghosh et al. 2020, section 4: ten components with full covariances. It is fitted to at most 5,000 codes, when samples are first drawn after
an epoch: in epochs that are not validated nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.representation import Reconstructor
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.mixtures import GaussianMixture
from elboard.methods.parts.priors import Prior
from elboard.methods.vae.base import Autoencoding

CODES = 5000


class Deterministic(Autoencoding, Generator, Reconstructor, AggregatePosterior):
    """A subclass gives the objective, and another ``make_prior`` where its codes have a law of their own."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 16  # Ghosh et al. 2020: of MNIST
        components: Count = 10  # section 4, ditto; of the density of codes

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.__dict__["shown"] = None
        self.learns_prior = hasattr(self.prior, "fit")
        self.register_buffer("fitted", torch.tensor(not self.learns_prior))  # the density to these weights' codes: kept with both

    def make_posterior(self, n_features: int) -> nn.Module:
        """Features to the code."""
        return nn.Linear(n_features, self.config.latent_dim)

    def make_likelihood(self) -> nn.Module:
        """Of real vectors with variance 1, which is the squared error: codes without noise would drive a learned variance to zero, and with
        it the weight of every penalty."""
        return super().make_likelihood().requires_grad_(self.spec.likelihood != "gaussian")

    def make_prior(self) -> Prior:
        return GaussianMixture(self.config.latent_dim, self.config.components)

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        self.__dict__["shown"] = data.train["x"][:CODES]

    def code(self, x: Tensor) -> Tensor:
        """``(B, latent_dim)``."""
        return self.posterior(self.encoder(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.code(x))

    def draw_codes(self, x: Tensor) -> Tensor:
        return self.code(x)

    def draw_prior(self, n: int) -> Tensor:
        """Of the density of codes, which is fitted first where codes have changed."""
        if not self.fitted:
            self.fit_prior()
        return self.prior.sample(n, like=self.out.weight)

    def distortion(self, x: Tensor, z: Tensor) -> Tensor:
        """Minus the log-likelihood of ``x`` given the codes, ``(B,)``."""
        return -self.likelihood.log_prob(x.flatten(1), self.output(z))

    def before_validation(self) -> None:
        self.fitted.fill_(not self.learns_prior)

    def fitted_to(self, x: Tensor) -> Tensor:
        """What the density is one of, of each example ``(B, ...)``."""
        return self.code(x)

    def fit_prior(self) -> None:
        """Fit the mixture to the codes of training examples."""
        with torch.no_grad():
            self.prior.fit(torch.cat([self.fitted_to(part.to(self.device)) for part in self.shown.split(1000)]))
        self.fitted.fill_(True)

    def sample(self, n: int) -> Tensor:
        return self.decode(self.draw_prior(n))
