"""Ladder variational autoencoder with two stochastic layers (Sonderby, Raiko, Maaloe, Sonderby and Winther 2016).

    p(x, z) = p(x|z_1) p(z_1|z_2) p(z_2),   p(z_2) = N(0, I),   p(z_1|z_2) = N(mu_p(z_2), diag sigma_p^2(z_2))
    upwards:    d_1 = f_1(x), d_2 = f_2(d_1), each with (mu^_i, sigma^_i^2) linear in d_i
    downwards:  q(z_2|x) = N(mu^_2, diag sigma^_2^2),   q(z_1|z_2, x) = N(mu, diag sigma^2) with
                1 / sigma^2 = 1 / sigma^_1^2 + 1 / sigma_p^2,   mu = sigma^2 (mu^_1 / sigma^_1^2 + mu_p / sigma_p^2)

The encoder's Gaussian of the lower layer is taken for a likelihood of z_1, by which the generative model's is corrected: the merge is the
normalised product of the two densities. Without it (``merge`` off) the encoder's Gaussian alone is q(z_1|x), and the layers meet in the
divergence only: the same generative model with bottom-up factors, to compare.

    L(x) = E_q [log p(x|z_1)] - beta E_q(z_2|x) KL(q(z_1|z_2, x) || p(z_1|z_2)) - beta KL(q(z_2|x) || p(z_2))

with one sample of each layer and both divergences in closed form; ``kl_warmup`` raises beta from 0. The k-sample bound has weights over
both layers, p(x, z_1, z_2) / (q(z_1|z_2, x) q(z_2|x)). The curves hold the divergence of each layer.

Differences from the paper: two stochastic layers, with the network of Burda et al. 2016, section 5, for as many (200-200, 100 units,
100-100, 50 units), instead of five of 64 to 4 units; tanh instead of leaky rectifiers; log-variances instead of softplus; no batch
normalisation, as nowhere in the family. The warm-up takes a tenth of training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian, Draw, Gaussian
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.base import AnyData, Variational, initialise

CARD = MethodCard(
    name="ladder-vae",
    title="Ladder variational autoencoder of two stochastic layers",
    family="vae",
    home="generation/mnist",
    cite="Sonderby et al. 2016",
    splits=True,
    defaults="convention",
)


def merge(q: Gaussian, p: Gaussian) -> Gaussian:
    """The normalised product of two densities of the same shape, precisions weighting the means."""
    logvar = -torch.logaddexp(-q.logvar, -p.logvar)
    share = torch.sigmoid(p.logvar - q.logvar)  # of the first in the precision
    return Gaussian(share * q.mean + (1 - share) * p.mean, logvar)


class LadderVAE(Variational, AnyData):
    """Trained on the evidence lower bound of two layers."""

    @dataclass(kw_only=True)
    class Config(Variational.Config):
        lower_dim: Count = 100  # units of z_1; Burda et al. 2016, section 5. latent_dim: of z_2
        hidden_upper: list[Count] = field(default_factory=lambda: [100, 100])  # between the two, on both sides; ditto
        merge: bool = True
        kl_warmup: Share = 0.1  # share of training over which beta rises from 0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        n_features, c = self.encoder.n_features, config
        self.lower = DiagonalGaussian(n_features, c.lower_dim)
        downwards = MLP([c.latent_dim, *reversed(c.hidden_upper)], c.activation)
        self.conditional = nn.Sequential(downwards, DiagonalGaussian(downwards.n_features, c.lower_dim))
        initialise(self)

    def make_posterior(self, n_features: int) -> nn.Module:
        """Features d_1 to q(z_2|x)."""
        upwards = MLP([n_features, *self.config.hidden_upper], self.config.activation)
        return nn.Sequential(upwards, DiagonalGaussian(upwards.n_features, self.config.latent_dim))

    def make_decoder(self) -> nn.Module:
        """Codes z_1 to features."""
        return MLP([self.config.lower_dim, *reversed(self.config.hidden)], self.config.activation)

    def layers(self, x: Tensor, k: int) -> tuple[tuple[Gaussian, Draw], tuple[Gaussian, Gaussian, Draw]]:
        """q(z_2|x) and k samples of it; q(z_1|z_2, x) and p(z_1|z_2) of these, and a sample of z_1 for each, ``(B k, ...)``."""
        features = self.encoder(x)
        upper = self.posterior(features)
        top = upper.sample(k)
        p = self.conditional(top.z.flatten(0, 1))
        bottom_up = self.lower(features)
        q = Gaussian(*(value.repeat_interleave(k, dim=0) for value in (bottom_up.mean, bottom_up.logvar)))
        q = merge(q, p) if self.config.merge else q
        return (upper, top), (q, p, q.sample())

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """One sample of each layer; ``kl`` is of both, ``kl_upper`` of z_2."""
        (upper, top), (q, p, draw) = self.layers(x, 1)
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(draw.z))
        kl_upper = self.prior.divergence(upper, top)
        kl = kl_upper + kl_diagonal(q.mean, q.logvar, p.mean, p.logvar)
        return {"elbo": -reconstruction - kl, "kl": kl, "reconstruction": reconstruction, "kl_upper": kl_upper}

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """``log p(x, z_1, z_2) - log q(z_1, z_2 | x)`` for k samples of both layers, ``(B, k)``."""
        (upper, top), (q, p, draw) = self.layers(x, k)
        standardised = Draw(draw.z, (draw.z - p.mean) * torch.exp(-0.5 * p.logvar))
        ratio = (p.log_prob(standardised) - q.log_prob(draw)).view(len(x), k) + self.prior.log_ratio(upper, top)
        return self.likelihood.log_prob(x.flatten(1)[:, None], self.output(draw.z.view(len(x), k, -1))) + ratio

    def decode(self, z: Tensor) -> Tensor:
        """Of codes z_2 ``(N, latent_dim)``, through one sample of z_1 each."""
        return super().decode(self.conditional(z).sample().z)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = {name: value.mean() for name, value in self.elbo(batch["x"]).items()}
        objective = terms["reconstruction"] + ramp(self.progress, self.config.kl_warmup) * terms["kl"]
        return {"loss": objective, "elbo": terms["elbo"], "kl": terms["kl"], "kl_upper": terms["kl_upper"]}
