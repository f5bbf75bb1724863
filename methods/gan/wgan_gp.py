"""Wasserstein GAN with gradient penalty (Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville 2017, algorithm 1).

    critic:     minimise  E[D(g(z))] - E[D(x)] + lambda E[(|grad D(x^)| - 1)^2],   x^ = e x + (1 - e) g(z),  e ~ U(0, 1)   (eq. 3)
    generator:  minimise  -E[D(g(z))],   z ~ N(0, I)

The norm is that of the gradient of one example, over all of its dimensions: no layer of the critic mixes examples. Each batch trains the
critic, every ``critic_steps``-th one the generator too. ``distance`` in the curves, E[D(x)] - E[D(g(z))], estimates the Wasserstein
distance from below up to the penalty; it is not a loss by which epochs could be chosen.

One optimiser steps both: neither loss has gradients for the other's weights, and Adam passes over weights without gradients.
:meth:`WGAN.training_step` is overridden because the generator's loss is not in every step.

Differences from the paper: dense networks of rectifiers of the size of the autoencoders that it is compared with; ten times the learning
rate, as there are a few hundred steps of the generator instead of 10^5; where both are trained both steps are at once, so that the
generator sees the critic before its last step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.critics import Critic
from elboard.methods.parts.likelihoods import likelihood
from elboard.methods.parts.networks import MLP

CARD = MethodCard(
    name="wgan-gp",
    title="Wasserstein GAN with gradient penalty",
    family="gan",
    home="samples/toy-2d",
    cite="Gulrajani et al. 2017",
    defaults="convention",
)


class WGAN(Method, Generator):
    """Trained against a critic of bounded slope."""

    resting = True  # the generator

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 1e-3  # 1e-4 in algorithm 1
        latent_dim: Count = 16
        hidden: list[Count] = field(default_factory=lambda: [200, 200])  # of either network
        activation: Literal["relu", "tanh", "softplus", "elu", "silu"] = "relu"
        penalty: NonNegative = 10.0  # lambda; algorithm 1 (the released code has 0.1 for points of the plane; not verified)
        critic_steps: Count = 5  # n_critic; ditto

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        dimensions = math.prod(spec.shape)
        self.generator = MLP([config.latent_dim, *config.hidden], config.activation)
        self.out = nn.Linear(self.generator.n_features, dimensions)
        self.critic = Critic([dimensions, *config.hidden], config.activation)
        self.bounded = spec.likelihood != "gaussian"  # pixels

    def prepare(self, data: Data) -> None:
        mean = data.train["x"].flatten(1).mean(0)
        with torch.no_grad():
            self.out.bias.copy_(likelihood(self.spec).initial_bias(mean))

    def parameter_groups(self) -> list[dict]:
        return [{**group, "betas": (0.0, 0.9)} for group in super().parameter_groups()]  # algorithm 1

    def sample(self, n: int) -> Tensor:
        out = self.out(self.generator(torch.randn(n, self.config.latent_dim, device=self.out.weight.device)))
        return (out.sigmoid() if self.bounded else out).unflatten(1, self.spec.shape)

    def slope_penalty(self, x: Tensor, fake: Tensor) -> Tensor:
        """``(|grad D| - 1)^2`` at a point of the line between each pair of ``(B, *shape)``, ``(B,)``."""
        share = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        with torch.enable_grad():
            between = (share * x + (1 - share) * fake).requires_grad_()
            value = self.critic(between.view_as(between)).sum()  # a view: counters of operations cannot hook a leaf that a module takes
            (slope,) = torch.autograd.grad(value, between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1) ** 2

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.sample(len(x))
        distance, penalty = self.critic(x).mean() - self.critic(fake).mean(), self.slope_penalty(x, fake).mean()
        return {"loss": self.config.penalty * penalty - distance, "distance": distance, "penalty": penalty}

    def generator_loss(self, n: int) -> Tensor:
        return -self.critic.fixed(self.sample(n)).mean()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Of both networks."""
        out = self.critic_loss(batch["x"])
        return {**out, "loss": out["loss"] + self.generator_loss(len(batch["x"]))}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        both = (self.global_step + 1) % self.config.critic_steps == 0
        out = self.loss(batch) if both else self.critic_loss(batch["x"])
        self.accumulate(out)
        return out["loss"]
