"""VAE whose reconstructions are measured by the features of a discriminator (Larsen, Sonderby, Larochelle and Winther 2016, algorithm 1).

    L_prior = KL(q(z|x) || p(z)),   L_llike = -E_q(z|x) log N(F(x); F(x~), I),   x~ = g(z),  x_p = g(z_p),  z_p ~ N(0, I)
    L_GAN   = log D(x) + log(1 - D(x~)) + log(1 - D(x_p))
    encoder:        minimise  L_prior + L_llike
    decoder:        minimise  gamma L_llike - log D(x~) - log D(x_p)
    discriminator:  maximise  L_GAN

F(x) are the last hidden units of D. Each network has the gradient of its own line and no other: the encoder none of the adversarial term,
the discriminator none of the likelihood. One optimiser steps all three at once: weights that a line does not train are constants in it.
The constant of the Gaussian is left out.

Differences from the paper: the family's dense network, and for D one like it, without batch normalisation; Adam instead of RMSProp; the
decoder raises log D of its images instead of lowering log(1 - D), which has the same fixed point and a gradient where D is sure
(Goodfellow et al. 2014); gamma is of dense features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.critics import Critic, held
from elboard.methods.vae.base import Autoencoding, initialise

CARD = MethodCard(
    name="vae-gan",
    title="VAE with the features of a discriminator",
    family="vae",
    home="samples/mnist",
    cite="Larsen et al. 2016",
    splits=True,
    defaults="convention",
)


class Adversarial(Autoencoding):
    """Trained with a discriminator of images, which measures the reconstructions too."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 16
        gamma: NonNegative = 0.1
        discriminator: list[Count] = field(default_factory=lambda: [200, 200])  # the encoder's size; F are the last
        discriminator_lr: Positive = 5e-4  # half of the others', with their first beta of 0.5

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.critic = Critic([len(self.out.bias), *config.discriminator])
        initialise(self.critic)

    def make_likelihood(self) -> nn.Module:
        """Of which only the mean counts: its scale is not learned."""
        return super().make_likelihood().requires_grad_(False)

    def parameter_groups(self) -> list[dict]:
        own = list(self.critic.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("critic.") and p.requires_grad]
        return [{"params": others, "betas": (0.5, 0.999)}, {"params": own, "lr": self.config.discriminator_lr, "betas": (0.5, 0.999)}]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q = self.posterior(self.encoder(x))
        return q.mean, q.logvar

    def unlikeness(self, x: Tensor, fake: Tensor) -> Tensor:
        """L_llike of images ``(B, D)`` for their copies ``(B, D)``, a mean; gradients reach the copies alone."""
        with torch.no_grad():
            target = self.critic.body(x)
        return 0.5 * (held(self.critic.body, fake) - target).square().sum(1).mean()

    def encoder_loss(self, x: Tensor, z: Tensor, kl: Tensor) -> dict[str, Tensor]:
        """By codes z and divergences of q(z|x)."""
        copy = self.likelihood.mean(held(self.out, held(self.decoder, z)))
        unlikeness = self.unlikeness(x, copy)
        return {"loss": kl.mean() + unlikeness, "kl": kl.mean(), "unlikeness": unlikeness}

    def decoder_loss(self, x: Tensor, copy: Tensor, sample: Tensor) -> Tensor:
        fooled = F.softplus(-self.critic.fixed(copy)) + F.softplus(-self.critic.fixed(sample))  # - log D of the logit
        return self.config.gamma * self.unlikeness(x, copy) + fooled.mean()

    def critic_loss(self, x: Tensor, copy: Tensor, sample: Tensor) -> Tensor:
        """- L_GAN, a mean."""
        fakes = F.softplus(self.critic(copy.detach())) + F.softplus(self.critic(sample.detach()))
        return (F.softplus(-self.critic(x)) + fakes).mean()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].flatten(1)
        q = self.posterior(self.encoder(batch["x"]))
        draw = q.sample()
        out = self.encoder_loss(x, draw.z, self.prior.divergence(q, draw))
        codes = torch.cat([draw.z.detach(), self.prior.sample(len(x), like=draw.z)])
        copy, sample = self.likelihood.mean(self.output(codes)).chunk(2)
        discriminator = self.critic_loss(x, copy, sample)
        return {**out, "loss": out["loss"] + self.decoder_loss(x, copy, sample) + discriminator, "discriminator": discriminator}


class VAEGAN(Adversarial, Generator, LatentModel):
    """A generator of images and their codes."""
