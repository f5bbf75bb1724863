"""Evidential deep learning: a Dirichlet distribution over class probabilities (Sensoy, Kaplan and Kandemir 2018).

    alpha = evidence(a) + 1,   S = sum_c alpha_c,   p^_c = alpha_c / S,   u = C / S
    L = (1/B) sum_i sum_c (y_ic - p^_ic)^2 + p^_ic (1 - p^_ic) / (S_i + 1)  +  lambda KL(Dir(alpha~_i) || Dir(1))        (their eq. 5)

a are the network's outputs, evidence(a) >= 0 what speaks for each class, and y a one-hot label. The first two terms are E |y - p|^2 of
p ~ Dir(alpha); alpha~ = y + (1 - y) alpha is what remains without the evidence for the right class, and is drawn to none; lambda grows from
0 to 1 over the first share ``anneal`` of training. Probabilities are p^, the out-of-distribution score is u, 1 where there is no evidence.

Differences from the paper: the shared network, Adam. Evidence is softplus(a), an option of its released code, instead of relu(a), by which
a class whose outputs are below 0 for all images is never learned again (a pilot on calibration/mnist was 58 % accurate). lambda grows over
all of training, in the paper for ten epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.ood import OODScorer
from elboard.bench.options import Share
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.schedules import ramp

CARD = MethodCard(
    name="evidential",
    title="Evidential deep learning",
    family="bayesian",
    home="calibration/mnist",
    cite="Sensoy et al. 2018",
    splits=True,
    defaults="convention",
)


def expected_error(alpha: Tensor, y: Tensor) -> Tensor:
    """E |y - p|^2 ``(B,)`` of p ~ Dir(alpha), for ``alpha`` and one-hot ``y`` of shape ``(B, C)``."""
    total = alpha.sum(1, keepdim=True)
    p = alpha / total
    return ((y - p) ** 2 + p * (1 - p) / (total + 1)).sum(1)


def divergence(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) ``(B,)``, for ``alpha`` ``(B, C)``."""
    total, n = alpha.sum(1), alpha.new_tensor(float(alpha.shape[1]))
    constant = total.lgamma() - alpha.lgamma().sum(1) - n.lgamma()
    return constant + ((alpha - 1) * (alpha.digamma() - total.digamma()[:, None])).sum(1)


class Evidential(ClassifierMethod, OODScorer):
    """The shared classifier, whose outputs are evidence."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        evidence: Literal["softplus", "relu", "exp"] = "softplus"
        anneal: Share = 1.0  # share of training over which lambda grows

    def alpha(self, x: Tensor) -> Tensor:
        """Concentrations ``(B, C)``, at least 1."""
        out = self(x).float()
        return {"softplus": F.softplus, "relu": F.relu, "exp": lambda a: a.clamp(-10, 10).exp()}[self.config.evidence](out) + 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        alpha, labels = self.alpha(batch["x"]), batch["y"]
        y = F.one_hot(labels, alpha.shape[1]).to(alpha.dtype)
        weight = ramp(self.progress, self.config.anneal)
        error, kl = expected_error(alpha, y).mean(), divergence(y + (1 - y) * alpha).mean()
        accuracy = (alpha.argmax(1) == labels).float().mean()
        return {"loss": error + weight * kl, "error": error, "kl": kl, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        alpha = self.alpha(x)
        return (alpha / alpha.sum(1, keepdim=True))[None]

    def ood_score(self, x: Tensor) -> Tensor:
        alpha = self.alpha(x)
        return alpha.shape[1] / alpha.sum(1)
