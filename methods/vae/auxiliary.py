"""What variational autoencoders share whose prior is told the factors u of an image: iVAE and IDVAE.

Labels are of all images or of some.

    minimise  E_q[-log p(x|z)] + beta KL(q(z|x, u) || N(c(u), diag v(u)))                          factors known
              the same with u = sigmoid(l), minus the entropy of q(l|x);  l ~ q(l|x)               factors not known (-1)
            + alpha E_q(l|x)[cross-entropy of sigmoid(l) and u], a mean over the images whose factors are known

q(l|x), the reader, is a network of its own. Factors are numbered from 0 and divided by how many values they have, as in the papers'
released code, so that they lie in [0, 1); networks see them standardised.

Two representations. ``encode`` reads the factors from the image: the one that counts. ``encode_given`` is told them, as at the papers' test
time. Bounds are of the model with the prior N(0, I), which is told nothing, so that they compare with those of other methods.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.disentanglement import FactorsGiven
from elboard.bench.kinds.likelihood import BinaryLikelihood
from elboard.bench.kinds.representation import GaussianPosterior
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.posteriors import DiagonalGaussian, Gaussian
from elboard.methods.vae.base import Autoencoding, GaussianVAE

LOGVAR = (-8.0, 4.0)  # of priors and read factors: at an infinitely sharp one the divergence has no bound


class FactorEncoder(nn.Module):
    """Features of images and their factors ``u`` (B, K) in [0, 1); where none are given those that it reads from the images."""

    def __init__(self, image: nn.Module, reading: nn.Module, sizes: tuple[int, ...]):
        super().__init__()
        self.image, self.reading = image, reading
        self.logits = DiagonalGaussian(reading.n_features, len(sizes))
        n = torch.tensor([float(max(size, 2)) for size in sizes])
        self.register_buffer("sizes", n)
        self.register_buffer("centre", (n - 1) / (2 * n))
        self.register_buffer("deviation", ((n**2 - 1) / 12).sqrt() / n)
        self.n_features = image.n_features + len(sizes)

    def read(self, x: Tensor) -> Gaussian:
        """q(l|x), of the factors' logits."""
        found = self.logits(self.reading(x))
        return Gaussian(found.mean, found.logvar.clamp(*LOGVAR))

    def standard(self, u: Tensor) -> Tensor:
        """With mean 0 and variance 1, of factors whose values are equally frequent."""
        return (u - self.centre) / self.deviation

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return torch.cat([self.image(x), self.standard(self.read(x).mean.sigmoid() if u is None else u)], 1)


class AuxiliaryVAE(Autoencoding, FactorsGiven, GaussianPosterior, BinaryLikelihood):
    """Subclasses give the conditional prior and what else is learned of the factors."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 5  # the number of factors of sprites
        beta: NonNegative = 1.0
        alpha: NonNegative = 0.1  # released code
        head: Count = 128  # hidden units of q(z|x, u) over the image's features and the factors

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if not getattr(spec, "factors", ()):
            raise UserError(f"a prior of factors needs data that have some, and these are {type(spec).__name__}")
        super().__init__(config, spec, bases)

    def make_encoder(self) -> nn.Module:
        return FactorEncoder(super().make_encoder(), super().make_encoder(), self.spec.factors)

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        return nn.Sequential(nn.Linear(n_features, c.head), nn.LeakyReLU(0.2), DiagonalGaussian(c.head, c.latent_dim))

    @abstractmethod
    def conditional(self, u: Tensor) -> Gaussian:
        """N(c(u), diag v(u)) of standardised factors ``(B, K)``."""

    def of_factors(self, u: Tensor) -> Tensor:
        """What is learned of standardised factors alone, ``(n,)``; nothing by default."""
        return torch.zeros(len(u), device=u.device)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"]
        factors = batch.get("factors", torch.full((len(x), len(self.spec.factors)), -1, device=x.device))
        known = (factors >= 0).all(1)
        read = self.encoder.read(x)
        logits = read.sample().z
        u = torch.where(known[:, None], factors / self.encoder.sizes, logits.sigmoid())
        q, prior = self.posterior(self.encoder(x, u)), self.conditional(self.encoder.standard(u))
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(q.sample().z))
        kl = kl_diagonal(q.mean, q.logvar, prior.mean, prior.logvar)
        entropy = torch.where(known, torch.zeros_like(kl), 0.5 * read.logvar.sum(1))
        reading = F.binary_cross_entropy_with_logits(logits, u.detach(), reduction="none").sum(1)
        supervised = c.alpha * reading + self.of_factors(self.encoder.standard(u.detach()))
        labels = (supervised * known).sum() / known.sum().clamp(min=1)
        loss = (reconstruction + c.beta * kl - entropy).mean() + labels
        return {"loss": loss, "reconstruction": reconstruction.mean(), "kl": kl.mean(), "labels": labels}

    encode = GaussianVAE.encode
    elbo = GaussianVAE.elbo
    log_weights = GaussianVAE.log_weights
    log_evidence = GaussianVAE.log_evidence

    def encode_given(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        q = self.posterior(self.encoder(x, factors / self.encoder.sizes))
        return q.mean, q.logvar
