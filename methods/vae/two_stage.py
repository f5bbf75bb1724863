"""Two-stage VAE (Dai and Wipf 2019), whose second VAE learns how the codes of a first one are distributed (Asperti and Trentin 2020).

    stage 1: x -> q(z|x), p(x|z), trained before (``computed-gamma-vae``);   stage 2: z ~ q(z|x) -> q(u|z), p(z|u) = N(decode(u), gamma_z^2)
    sample:  u ~ N(0, I) -> z ~ p(z|u) -> x = E p(x|z)       ("GEN-2"; the samples of the first stage are its z ~ N(0, I), "GEN-1")

Stage 2 is trained with the same loss and the same update of its gamma. Together they are a model with two layers of codes:

    log p(x) >= E log [ p(x|z) p(z|u) p(u) / (q(z|x) q(u|z)) ] =: elbo

Reconstructions, codes and the variance of the decoder are those of the first stage. ``bases.first.gamma=learned`` with
``gamma=learned`` is the model of Dai and Wipf.

Differences from the paper: the input of a network of stage 2 is not appended to its last hidden layer; 256 instead of 2,048 units in three
layers; the training is as long as the first, not twice. Codes are drawn from p(z|u), as in Dai and Wipf's algorithm: its mean alone, with
the renormalisation that makes up for the variance that it lacks, is Asperti and Trentin's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.method import Bases
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.vae.computed_gamma import ComputedGammaVAE

CARD = MethodCard(
    name="two-stage-vae",
    title="Two-stage VAE with computed variances",
    family="vae",
    home="density/mnist-real",
    paper="026",
    cite="Dai and Wipf 2019; Asperti and Trentin 2020",
    bases={"first": {"method": "computed-gamma-vae"}},
    defaults="convention",
)


class TwoStageVAE(ComputedGammaVAE):
    """A VAE of the codes of another one."""

    @dataclass(kw_only=True)
    class Config(ComputedGammaVAE.Config):
        hidden: list[int] = field(default_factory=lambda: [256, 256, 256])  # three layers, as in the paper
        activation: str = "relu"  # the paper

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        codes = bases["first"].config.latent_dim
        super().__init__(config, LikelihoodSpec((codes,), spec.n_train, likelihood="gaussian"), bases)

    def prepare(self, data: Data) -> None:
        """The bias of the output stays 0: codes of the first stage are centred there."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            z = self.base.posterior(self.base.encoder(batch["x"])).sample().z
        return super().loss({"x": z})

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """One sample of z, of u; ``kl`` is what both cost: log q(z|x) minus the second stage's bound on log p(z)."""
        q = self.base.posterior(self.base.encoder(x))
        draw = q.sample()
        reconstruction = -self.base.likelihood.log_prob(x.flatten(1), self.base.output(draw.z))
        cost = q.log_prob(draw) - super().elbo(draw.z)["elbo"]
        return {"elbo": -reconstruction - cost, "kl": cost, "reconstruction": reconstruction}

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """``log p(x, z_i, u_i) - log q(z_i, u_i | x)``, ``(B, k)``."""
        q = self.base.posterior(self.base.encoder(x))
        draw = q.sample(k)
        prior = super().log_weights(draw.z.flatten(0, 1), 1).view(len(x), k)
        return self.base.likelihood.log_prob(x.flatten(1)[:, None], self.base.output(draw.z)) + prior - q.log_prob(draw)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.base.decode(z)

    def noise_variance(self) -> Tensor:
        return self.base.noise_variance()

    def sample(self, n: int) -> Tensor:
        mean = self.output(self.prior.sample(n, like=self.out.weight))
        return self.base.decode(mean + super().noise_variance().sqrt() * torch.randn_like(mean))
