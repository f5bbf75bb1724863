"""A curved posterior: z_1 ~ N(0, 1), z_2 given z_1 ~ N(z_1^2 - 1, 0.25), the banana of Haario, Saksman and Tamminen (1999).

Both means are 0, the variances 1 and 2 + 0.25, and the coordinates are uncorrelated but far from independent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.tasks.posterior.base import BUDGETS, KnownPosterior  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="posterior/banana",
    title="A curved density of the plane",
    needs=("PosteriorSampler",),
    primary="mmd2",
    metrics=("mmd2", "mean_error", "variance_error", "correlation", "iat"),
    selection="mmd2",
    papers=("003", "083"),
    full="100,000 instead of 10,000 steps; no paper's own setting",
    work={"lite": (1, 20_000), "full": (1, 20_000)},
)
WIDTH = 0.5


class Banana(KnownPosterior):
    """See the module."""

    @classmethod
    def log_prob(cls, z: Tensor) -> Tensor:
        a, b = z.T
        return -0.5 * (a.square() + ((b - a.square() + 1) / WIDTH).square())

    @classmethod
    def exact(cls, n: int, seed: int) -> Tensor:
        a, b = np.random.RandomState(seed).standard_normal((2, n))
        return torch.from_numpy(np.stack([a, a**2 - 1 + WIDTH * b], axis=1)).float()

    @classmethod
    def moments(cls) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(2), np.diag([1.0, 2.0 + WIDTH**2])
