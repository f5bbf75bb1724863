"""Estimators of a bound's gradient, at weights that are common to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class GradientEstimators(ABC):
    """Has several unbiased estimators of the gradient of its bound with respect to the parameters of q(z|x)."""

    estimators: ClassVar[tuple[str, ...]]  # their names, the one that is meant to have the least variance first

    @abstractmethod
    def gradients(self, x: Tensor, estimator: str, draws: int) -> Tensor:
        """Gradients of minus the mean bound of the batch ``x``, by noise drawn anew for each, ``(draws, parameters)``."""


METRICS = (
    Convention(
        "gradient_variance",
        "variance of the gradient",
        "nats^2",
        "lower",
        0.0,
        note="trace of the covariance over draws of the noise, of the mean bound of one fixed batch",
    ),
    Convention("variance_ratio", "ratio of two estimators' variances", "", "none", 0.0, note="slice x-y: that of x over that of y"),
)
