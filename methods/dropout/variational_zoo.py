"""Sparse variational dropout of a zoo, from its trained weights (Molchanov et al. 2017; Honegger, Schuerholt and Borth 2023).

    log alpha = clamp(log sigma^2 - 2 log(|theta| + 1e-15)),     out ~ N(theta x + b, (alpha theta^2) x^2)      (local reparameterisation)
    KL = - k1 sigmoid(k2 + k3 log alpha) + 0.5 log(1 + 1 / alpha) + k1,   k1 = 0.63576, k2 = 1.87320, k3 = 1.48695
    L = sum_g [ (1/B) sum_i CE(f(x_i; noise), y_i) + w sum_weights KL ],    w from 0 to ``kl`` over training
    a weight is 0 where log alpha >= 3, else its mean

Weights and, of convolutions, biases have noise; log alpha is held within [-8, 8], of linear layers [-10, 10]. w is far above 1/N, which the
Bayesian objective has: with 1 all would be pruned. log sigma^2 starts so low that the networks are those of the zoo.

Differences from the paper: lr of the zoo, and for log sigma^2 one of its own, since training is a hundredth as long and Adam moves each
number by at most its rate a step; batches of the task's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import Count, NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.dropout.variational_dropout import divergence
from elboard.methods.dropout.zoo_networks import Twins, cross_entropies

CARD = MethodCard(
    name="variational-zoo",
    title="Sparse variational dropout of a zoo",
    family="dropout",
    home="compression/mnist-zoo",
    paper="001",
    cite="Honegger et al. 2023; Molchanov et al. 2017",
    bases={"zoo": {"method": "cnn-zoo"}},
    splits=True,
    defaults="convention",
)
THRESHOLD, START = 3.0, -10.0


class VariationalZoo(Twins):
    """Versions: the originals, then the sparse networks at the ends of equal parts of training.

    Attributes:
        theta, log_variance: ``(G, P)``.
        stages: the sparse networks, ``(S, G, P)``.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        kl: NonNegative = 0.01  # w at the end
        lr_noise: Positive = 1e-2  # of log sigma^2
        stages: Count = 10

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.zoo, theta = self.base.zoo, self.base.theta.detach().clone()
        self.theta, self.log_variance = nn.Parameter(theta), nn.Parameter(torch.full_like(theta, START))
        self.register_buffer("stages", theta.repeat(config.stages, 1, 1))
        sizes = enumerate(self.zoo.sizes)
        high = torch.cat([torch.full((n,), 8.0 if i < 6 else 10.0 if i % 2 == 0 else 0.0) for i, n in sizes])
        self.register_buffer("bound", high, persistent=False)  # of |log alpha|; 0 for what has no noise, the biases of linear layers

    def log_alpha(self) -> Tensor:
        """``(G, P)``; of no meaning where nothing has noise."""
        raw = self.log_variance - 2 * (self.theta.abs() + 1e-15).log()
        return torch.maximum(torch.minimum(raw, self.bound), -self.bound)

    def sparse(self) -> Tensor:
        """What predicts, ``(G, P)``."""
        return torch.where(self.log_alpha() >= THRESHOLD, 0.0, self.theta).detach()

    def noisy(self, x: Tensor, log_alpha: Tensor) -> Tensor:
        """Logits ``(G, B, C)`` under one draw of the noise, of each output its own."""
        means = self.zoo.parts(self.theta)
        variances = self.zoo.parts(log_alpha.exp() * self.theta.square() * (self.bound > 0))

        def layer(i: int, h: Tensor) -> Tensor:
            mean = self.zoo.layer(i, h, *means[i])
            with torch.autocast(h.device.type, enabled=False):
                variance = self.zoo.layer(i, at_least_single(h).square(), *variances[i])
            return mean + ((variance + 1e-15).sqrt() * torch.randn_like(variance)).to(mean.dtype)

        return self.zoo.logits(x, len(self.theta), layer)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        log_alpha = self.log_alpha()
        logits = self.noisy(batch["x"], log_alpha)
        nll, kl = cross_entropies(logits, batch["y"]), (divergence(log_alpha) * (self.bound > 0)).sum(1)
        loss = nll.sum() + self.config.kl * self.progress * kl.sum()
        gone = ((log_alpha >= THRESHOLD) & (self.bound > 0)).float().sum() / (len(kl) * (self.bound > 0).sum())
        return {"loss": loss, "nll": nll.mean(), "kl": kl.mean(), "gone": gone}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.stages[min(int(self.progress * len(self.stages)), len(self.stages) - 1)] = self.sparse()

    def parameter_groups(self) -> list[dict]:
        return [{"params": [self.theta]}, {"params": [self.log_variance], "lr": self.config.lr_noise}]

    def versions(self) -> Tensor:
        return torch.cat((self.base.theta.detach()[None], self.stages))
