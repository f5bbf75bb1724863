"""Variational information bottleneck (Alemi et al. 2017), which "is half Bayes" (Alemi, Morningstar, Poole, Fischer and Dillon 2020).

    L = (1/N) sum_i { (1/M) sum_m E_{e(z|x_i)}[-log q(y_i^m | z)] + beta KL(e(z | x_i) || N(0, I)) }
    e(z | x) = N(mu(x), diag sigma(x)^2),  sigma = softplus(rho(x) - 5),   q(y | z) one linear layer;   p(y | x) = (1/S) sum_s q(y | z_s)

The code is a posterior over what the targets of one input may be, not over weights: with beta = 1 / (gamma M) the objective bounds, for
each input, the risk over its labels. ``noise`` above 0 holds sigma at that value, for the control with the same noise and ``beta`` 0.
``labels`` is M, where the data have several labels an input.

Differences from the papers: the shared backbone and training, and 32 instead of 256 dimensions of the code. beta = 1e-3, the -5 in sigma
and the one training sample are those of the released notebook of the former (alexalemi/vib_demo); the experiments of the latter could not
be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.teacher import ManyLabels
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.scores import MaximumProbability
from elboard.methods.parts.soft_labels import checked_labels, frequencies

CARD = MethodCard(
    name="vib",
    title="Variational information bottleneck",
    family="bayesian",
    home="noisy/teacher",
    paper="035",
    cite="Alemi et al. 2017, 2020",
    splits=True,
    defaults="library",
)


class VIB(ClassifierMethod, MaximumProbability, ManyLabels):
    """The shared backbone with a stochastic code before a linear decoder."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        beta: NonNegative = 1e-3
        code_dim: Count = 32
        noise: NonNegative = 0.0  # sigma; 0: learned
        labels: Count = 1  # M

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.labels = checked_labels(config.labels, spec)
        self.encoder = nn.Linear(self.backbone.n_features, 2 * config.code_dim)
        self.head = nn.Linear(config.code_dim, spec.n_classes)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the code, both ``(B, K)``."""
        mean, rho = self.encoder(self.features(x)).chunk(2, dim=1)
        return mean, torch.full_like(mean, self.config.noise) if self.config.noise else F.softplus(rho - 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the mean of the code."""
        return self.head(self.encode(x)[0])

    def labels_learned(self) -> int:
        return self.labels

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, sigma = self.encode(batch["x"])
        logits = self.head(mean + sigma * torch.randn_like(sigma))
        error = F.cross_entropy(logits, frequencies(batch, self.labels, self.spec.n_classes))
        rate = kl_to_standard_normal(mean, 2 * sigma.clamp(min=1e-20).log()).mean()
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": error + self.config.beta * rate, "error": error, "rate": rate, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, a code for each sample and input."""
        mean, sigma = self.encode(x)
        return self.head(mean + sigma * torch.randn(n_samples, *sigma.shape, device=x.device)).softmax(2)
