"""What the two forms of variational self-supervised learning share (Yavuz and Yanikoglu 2025): a VAE without a decoder.

The student's posterior of one view is N(mu_s, s), the teacher's of the other view N(mu_t, t), which is the prior. A term is, over d,

    (1/d) ( lik + weight KL(q_s || p_t) )

with ``likelihood``, which replaces the reconstruction:

* student: - log N(mu_t; mu_s, s): the student predicts the other view's mean with its own variance. At weight 1 it is best at
  s = |mu_s - mu_t| sqrt(t), where teacher and student agree the squared error itself.
* fixed: the same with variance 1. The variance of the student then meets no difference of views: dKL / d log s = (s / t - 1) / 2.
* teacher: - E_q log N(z; mu_t, t): best at s = weight / (1 + weight) t, so that with a teacher that follows it falls to its bound.

The exact likelihood, the cosine forms and all settings of the paper are not verified: this is a reading, derived here, of what its abstract
and first page say. It bounds no likelihood of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.kinds.selfsup import UncertainViews
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import DataSpec
from elboard.methods.selfsup.base import Momentum, Seen, layers

LEAST, MOST = -6.0, 2.0  # of log-variances


class Posterior(nn.Module):
    """A projector with linear heads for the mean, batch-normalised without scale and shift so that the scale of means is fixed, and for the
    log-variances, which begin at 0."""

    def __init__(self, n_features: int, hidden: int, d: int, variances: int):
        super().__init__()
        self.body = layers(n_features, hidden, d)
        self.mean = nn.Sequential(nn.Linear(d, d), nn.BatchNorm1d(d, affine=False))
        self.log_variance = nn.Linear(d, variances)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(features)
        return self.mean(h), self.log_variance(h).clamp(LEAST, MOST)


class VSSL(Momentum, UncertainViews):
    """A student with a predictor of means and a teacher without one. ``spread`` holds log-variances ``(B, variances)``."""

    @dataclass(kw_only=True)
    class Config(Momentum.Config):
        weight: NonNegative = 1.0  # of the KL term
        likelihood: Literal["student", "fixed", "teacher"] = "student"

    def variances(self) -> int:
        """How many log-variances an image has: one for each dimension."""
        return self.config.latent_dim

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        d = config.latent_dim
        self.projector = Posterior(self.backbone.n_features, config.hidden, d, self.variances())
        self.predictor = layers(d, config.hidden, d)
        self.with_teacher()

    def scaled(self, mean: Tensor) -> Tensor:
        """Means as they are compared."""
        return mean

    def see(self, features: Tensor) -> Seen:
        mean, logvar = self.projector(features)
        return Seen(self.scaled(mean), self.scaled(self.predictor(mean)), logvar)

    def taught(self, x: Tensor) -> Seen:
        features, head = self.teacher
        mean, logvar = head(features(x))
        return Seen(self.scaled(mean), self.scaled(mean), logvar)

    def watched(self, seen: Seen) -> dict[str, Tensor]:
        bounded = (seen.spread <= LEAST) | (seen.spread >= MOST)
        return {"variance": seen.spread.exp().mean(), "bounded": bounded.float().mean()}

    def uncertainty(self, x: Tensor) -> Tensor:
        """The mean of the student's variances."""
        return self.see(self.backbone(x)).spread.exp().mean(1)


def likelihood(kind: str, squared: Tensor, logvar: Tensor, to_logvar: Tensor) -> Tensor:
    """Minus the log-likelihood of each dimension without its constant, of ``squared`` differences of means; see the module."""
    if kind == "student":
        return 0.5 * (squared * (-logvar).exp() + logvar)
    if kind == "fixed":
        return 0.5 * squared
    return 0.5 * ((squared + logvar.exp()) * (-to_logvar).exp() + to_logvar)


def divergence(squared: Tensor, logvar: Tensor, to_logvar: Tensor) -> Tensor:
    """KL(N(., exp(logvar)) || N(., exp(to_logvar))) of each dimension, of ``squared`` differences of means."""
    return 0.5 * (squared * (-to_logvar).exp() + torch.expm1(logvar - to_logvar) - (logvar - to_logvar))
