"""Diffusion variational autoencoder on a closed manifold (Perez Rey, Menkovski and Portegies 2020).

    p(z) uniform on Z;   q(z|x) = Brownian motion on Z from mu(x) = P(h(x)) for the time t(x):
    z <- mu,  T times:  z <- P(z + sqrt(t / T) eps),  eps ~ N(0, I_n)                                                    (section 3.3)
    KL(q || p) ~ -(d / 2) log(2 pi t) - d / 2 + log Vol(Z) + t S(mu) / 4                                                 (section 3.4)

P projects the ambient space R^n to Z, of dimension d and scalar curvature S. The expansion of the heat kernel holds for small t only: log t
stays between two bounds. ``manifold=euclidean`` is the Gaussian VAE of the same networks, its baseline.

Differences from the paper: images of grey levels enter by their cross-entropy, the mean of the Bernoulli log-likelihood over binarisations.
The flat torus has the constant that the released code leaves out, and the torus in R^3 the volume 4 pi^2 c a, so that bounds on different
manifolds compare. Projective spaces, SO(3) and O(3) are left out: the images here are translated, not turned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.topology import ManifoldCode
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.manifolds import Manifold, manifold
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian, Draw
from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.vae.base import Autoencoding

CARD = MethodCard(
    name="delta-vae",
    title="Diffusion VAE on a closed manifold",
    family="vae",
    home="topology/torus",
    paper="071",
    cite="Perez Rey, Menkovski and Portegies 2020",
    splits=True,
    defaults="paper",
)


@dataclass(frozen=True)
class Brownian:
    """Brownian motion on ``space`` from ``mean`` ``(B, n)`` for the time ``t`` ``(B,)``."""

    mean: Tensor
    t: Tensor
    space: Manifold
    steps: int

    def sample(self) -> Draw:
        """The end of one walk an example, and the noise of all its steps ``(T, B, n)``."""
        noise = torch.randn(self.steps, *self.mean.shape, device=self.mean.device)
        z, scale = self.mean, (self.t / self.steps).sqrt()[:, None]
        for eps in noise:
            z = self.space.project(z + scale * eps)
        return Draw(z, noise)


class Walk(nn.Linear):
    """A point of ``space`` and a time, log t between two bounds, from the features ``(B, n_features)``."""

    def __init__(self, n_features: int, space: Manifold, steps: int, log_t: tuple[float, float]):
        super().__init__(n_features, space.ambient + 1)
        self.space, self.steps, self.log_t = space, steps, log_t

    def forward(self, features: Tensor) -> Brownian:
        h = at_least_single(super().forward(features))  # half precision would leave the manifold
        low, high = self.log_t
        t = torch.exp(low + (high - low) * h[:, -1].sigmoid())
        return Brownian(self.space.project(h[:, :-1]), t, self.space, self.steps)


class Uniform(Prior):
    """The uniform law on ``space``."""

    def __init__(self, space: Manifold):
        super().__init__()
        self.space = space

    def sample(self, n: int, like: Tensor) -> Tensor:
        return self.space.uniform(n, like)

    def divergence(self, q: Brownian, draw: Draw) -> Tensor:
        d = self.space.dim
        curved = q.t * self.space.curvature(q.mean) / 4
        return -0.5 * d * torch.log(2 * math.pi * q.t) - 0.5 * d + math.log(self.space.volume) + curved


class DeltaVAE(Autoencoding, Generator, ManifoldCode):
    """Trained on the approximate bound."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        hidden: list[int] = field(default_factory=lambda: [256, 128])  # section 5: of MNIST
        activation: str = "relu"  # ditto
        latent_dim: int = 2  # d; ditto
        manifold: Literal["torus", "sphere", "torus-r3", "euclidean"] = "torus"  # flat torus, sphere, torus-r3; euclidean: the Gaussian VAE
        steps: Count = 10  # T; section 3.3
        log_t_min: float = -7.5  # released code
        log_t_max: float = -5.0  # ditto

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if config.log_t_min >= config.log_t_max:
            raise UserError(f"log_t_min={config.log_t_min} is not below log_t_max={config.log_t_max}")
        self.__dict__["space"] = None if config.manifold == "euclidean" else manifold(config.manifold, config.latent_dim)
        super().__init__(config, spec, bases)

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        if self.space is None:
            return DiagonalGaussian(n_features, c.latent_dim)
        return Walk(n_features, self.space, c.steps, (c.log_t_min, c.log_t_max))

    def make_prior(self) -> Prior:
        return Uniform(self.space) if self.space else StandardNormal(self.config.latent_dim)

    def make_decoder(self) -> nn.Module:
        return MLP([self.space.ambient if self.space else self.config.latent_dim, *reversed(self.config.hidden)], self.config.activation)

    def embed(self, x: Tensor) -> Tensor:
        return self.posterior(self.encoder(x)).mean

    def circles(self, z: Tensor) -> Tensor:
        return self.space.circles(z) if self.space else z[..., :0]

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """One walk an example."""
        q = self.posterior(self.encoder(x))
        draw = q.sample()
        reconstruction, kl = -self.likelihood.log_prob(x.flatten(1), self.output(draw.z)), self.prior.divergence(q, draw)
        return {"elbo": -reconstruction - kl, "kl": kl, "reconstruction": reconstruction}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        means = {name: value.mean() for name, value in self.elbo(batch["x"]).items()}
        return {"loss": -means["elbo"], "elbo": means["elbo"], "kl": means["kl"]}
