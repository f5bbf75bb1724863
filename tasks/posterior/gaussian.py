"""A Gaussian posterior of two coordinates with variances 1 and correlation 0.9.

The product of marginals that minimises KL(q || p) is Gaussian with variances 1 / Lambda_ii = 1 - 0.81 = 0.19, Lambda the precision:
``mean_field_error`` is the largest relative error against these. A sampler of the posterior has 1 / 0.19 - 1 = 4.26 there, and a perfect
mean-field law has a ``variance_error`` of 0.81 and a ``marginal_ratio`` of 0.19.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.tasks.posterior.base import BUDGETS, KnownPosterior  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="posterior/gaussian",
    title="A correlated Gaussian of the plane, against its moments and mean-field optimum",
    needs=("PosteriorSampler",),
    primary="mmd2",
    metrics=("mmd2", "mean_error", "variance_error", "correlation", "mean_field_error", "iat"),
    selection="mmd2",
    papers=("003", "020", "083"),
    full="100,000 instead of 10,000 steps; no paper's own setting",
    work={"lite": (1, 20_000), "full": (1, 20_000)},
)
CORRELATION = 0.9
COVARIANCE = np.array([[1.0, CORRELATION], [CORRELATION, 1.0]])
PRECISION = np.linalg.inv(COVARIANCE)


class Gaussian(KnownPosterior):
    """See the module."""

    @classmethod
    def log_prob(cls, z: Tensor) -> Tensor:
        return -0.5 * ((z @ torch.as_tensor(PRECISION, dtype=z.dtype, device=z.device)) * z).sum(1)

    @classmethod
    def exact(cls, n: int, seed: int) -> Tensor:
        drawn = np.random.RandomState(seed).standard_normal((n, 2)) @ np.linalg.cholesky(COVARIANCE).T
        return torch.from_numpy(drawn).float()

    @classmethod
    def moments(cls) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(2), COVARIANCE

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        error = float(np.abs(observed["covariance"].diagonal() * PRECISION.diagonal() - 1).max())
        return {**super().measure(observed, asked), "mean_field_error": error}
