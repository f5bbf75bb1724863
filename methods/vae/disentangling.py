"""What methods of disentanglement share: ten codes, and a regulariser of the posterior in the place of its divergence from the prior.

    minimise  -E_q(z|x)[log p(x|z)] + R,   R = KL(q(z|x) || p(z)) for the VAE

The curves show the evidence lower bound beside the objective, which is no bound. Where training is short, Adam has a rate of 1e-3; in
Locatello et al. 2019 it is 1e-4 for 300,000 steps, which the papers' files set at budget full.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from elboard.bench.kinds.likelihood import BinaryLikelihood
from elboard.bench.task import Batch
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.base import GaussianVAE


class Disentangling(GaussianVAE, BinaryLikelihood):
    """An autoencoder of Bernoulli pixels; subclasses give the regulariser."""

    @dataclass(kw_only=True)
    class Config(GaussianVAE.Config):
        latent_dim: int = 10  # Locatello et al. 2019, and the papers on dSprites

    @abstractmethod
    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        """``{"loss": R, ...}`` of a batch, with further scalars for the curves; ``kl`` is the mean divergence from the prior."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.terms(batch["x"])[0]

    def terms(self, x: Tensor) -> tuple[dict[str, Tensor], Draw]:
        """The objective of a batch with its terms, and the samples of the posterior."""
        q = self.posterior(self.encoder(x))
        draw = q.sample()
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(draw.z)).mean()
        kl = self.prior.divergence(q, draw).mean()
        found = self.regulariser(q, draw, kl)
        return {**found, "loss": reconstruction + found["loss"], "elbo": -reconstruction - kl, "kl": kl}, draw
