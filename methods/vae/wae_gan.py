"""Wasserstein autoencoder against a discriminator of codes (Tolstikhin, Bousquet, Gelly and Scholkopf 2018, algorithm 1, WAE-GAN).

    autoencoder:    minimise  mean_i c(x_i, g(f(x_i))) - lambda log D(f(x_i))
    discriminator:  maximise  lambda mean_i [log D(z_i) + log(1 - D(f(x_i)))],   z ~ N(0, I)

D(z) is the probability that z is of the prior. Its factor lambda is left out: Adam does not see the scale of a loss. The code has no noise.
One optimiser steps both at once: neither loss has gradients for the other's weights.

Differences from the paper: the family's dense network, a discriminator of three layers of 256 units instead of four of 512, of which a
step would take longer than of the autoencoder; c is minus the log-likelihood of the task (the cross-entropy of grey pixels), where the
paper has the squared error; constant learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.critics import Critic
from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="wae-gan",
    title="Wasserstein autoencoder, discriminator of codes",
    family="vae",
    home="samples/mnist",
    cite="Tolstikhin et al. 2018",
    splits=True,
    defaults="convention",
)


class WAEGAN(Deterministic):
    """Trained on the reconstruction and against a discriminator of its codes from a standard normal law, from which samples come."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        latent_dim: int = 8  # Tolstikhin et al. 2018: of MNIST
        lambda_: NonNegative = 10.0  # ditto
        discriminator: list[Count] = field(default_factory=lambda: [256, 256, 256])
        discriminator_lr: Positive = 5e-4  # half of the autoencoder's, as in the paper, with its first beta of 0.5

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.critic = Critic([config.latent_dim, *config.discriminator])

    def make_prior(self) -> Prior:
        return StandardNormal(self.config.latent_dim)

    def parameter_groups(self) -> list[dict]:
        own = list(self.critic.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("critic.")]
        return [{"params": others, "betas": (0.5, 0.999)}, {"params": own, "lr": self.config.discriminator_lr, "betas": (0.5, 0.999)}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        z = self.code(x)
        distortion, fooled = self.distortion(x, z).mean(), F.softplus(-self.critic.fixed(z)).mean()  # - log D of the logit
        discriminator = F.softplus(-self.critic(torch.randn_like(z))).mean() + F.softplus(self.critic(z.detach())).mean()
        objective = distortion + self.config.lambda_ * fooled
        return {"loss": objective + discriminator, "distortion": distortion, "discriminator": discriminator}
