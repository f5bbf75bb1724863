"""Conditional variational autoencoder of attributes (Debbagh 2023, after Sohn, Lee and Yan 2015).

    minimise  E_q(z|x,a)[-log p(x|z, a)] + beta KL(q(z|x, a) || p(z|a)),   p(z|a) = N(m(a), diag s^2(a)) or N(0, I)

A sample with attributes a is the decoding of z ~ p(z|a). In training z comes from q, so that what p(z|a) puts where no q does was never
decoded; a larger beta draws both together. ``hybrid`` closes the gap in Sohn et al.'s way, with decodings of the prior in training:

    (1 - hybrid) (the above) + hybrid E_p(z|a)[-log p(x|z, a)]

Differences from the paper, whose sizes were not verified: networks and data are the task's, Bernoulli pixels; attributes of two values
enter as one number, others as indicators. ``prior=standard`` is the plain variant. The bound that is reported has beta = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.conditional import ConditionalGenerator, ConditionalLikelihood
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.convolutions import ConvDecoder
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian, Gaussian, GaussianLayers
from elboard.methods.vae.base import Autoencoding

CARD = MethodCard(
    name="cvae-attributes",
    title="Conditional VAE of attributes",
    family="vae",
    home="conditional/sprites",
    paper="073",
    cite="Debbagh 2023",
    splits=True,
    defaults="convention",
)
LOGVAR = (-6.0, 6.0)  # of the prior, which at a small beta follows q to a point


class CVAEAttributes(Autoencoding, ConditionalGenerator, ConditionalLikelihood):
    """Trained on the weighted conditional bound."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 16
        beta: NonNegative = 1.0
        prior: Literal["learned", "standard"] = "learned"
        hybrid: Share = 0.0  # share of decodings of the prior
        head: Count = 128  # hidden units of q over the image's features and the attributes
        prior_hidden: list[Count] = field(default_factory=lambda: [64])

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        self.width = sum(1 if n == 2 else n for n in spec.attributes)
        super().__init__(config, spec, bases)
        learned = config.prior == "learned"
        self.of_attributes = GaussianLayers(self.width, config.prior_hidden, config.latent_dim, LOGVAR) if learned else None

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        return nn.Sequential(nn.Linear(n_features + self.width, c.head), nn.LeakyReLU(0.2), DiagonalGaussian(c.head, c.latent_dim))

    def make_decoder(self) -> nn.Module:
        inputs = self.config.latent_dim + self.width
        if self.network:
            return ConvDecoder(self.network, self.spec.shape, inputs)
        return MLP([inputs, *reversed(self.config.hidden)], self.config.activation)

    def attributes(self, y: Tensor) -> Tensor:
        """Whole numbers ``(B, K)`` as what networks see, ``(B, width)``."""
        parts = [y[:, i : i + 1].float() if n == 2 else F.one_hot(y[:, i], n).float() for i, n in enumerate(self.spec.attributes)]
        return torch.cat(parts, dim=1)

    def posterior_of(self, x: Tensor, a: Tensor) -> Gaussian:
        return self.posterior(torch.cat([self.encoder(x), a], dim=1))

    def prior_of(self, a: Tensor) -> Gaussian:
        if self.of_attributes is not None:
            return self.of_attributes(a)
        zero = a.new_zeros(len(a), self.config.latent_dim)
        return Gaussian(zero, zero)

    def missed(self, x: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """``-log p(x|z, a)``, ``(B,)``."""
        return -self.likelihood.log_prob(x.flatten(1), self.output(torch.cat([z, a], dim=1)))

    def elbo(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        a = self.attributes(y)
        q, p = self.posterior_of(x, a), self.prior_of(a)
        reconstruction, kl = self.missed(x, q.sample().z, a), kl_diagonal(q.mean, q.logvar, p.mean, p.logvar)
        return {"elbo": -reconstruction - kl, "kl": kl, "reconstruction": reconstruction}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, terms = self.config, self.elbo(batch["x"], batch["y"])
        objective = terms["reconstruction"] + c.beta * terms["kl"]
        if c.hybrid > 0:
            a = self.attributes(batch["y"])
            objective = (1 - c.hybrid) * objective + c.hybrid * self.missed(batch["x"], self.prior_of(a).sample().z, a)
        return {"loss": objective.mean(), **{name: terms[name].mean() for name in ("elbo", "kl", "reconstruction")}}

    def decode(self, z: Tensor, a: Tensor) -> Tensor:
        """Means of pixels ``(n, *shape)`` of codes and attributes."""
        return self.likelihood.mean(self.output(torch.cat([z, a], dim=1))).unflatten(-1, self.spec.shape)

    def sample(self, y: Tensor) -> Tensor:
        a = self.attributes(y)
        return self.decode(self.prior_of(a).sample().z, a)
