"""Predictive distributions of a real target: how near their means are, and whether they are as wide as they are wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class Regressor(ABC):
    """Predicts a distribution of a real target, noise included: a mixture of Gaussians, all of the same weight."""

    @abstractmethod
    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the components, each ``(S, B)``, in the unit of the batches' targets: S = n_samples draws of
        the weights or masks, S = 1 where the predictive is one Gaussian."""


@dataclass(frozen=True, kw_only=True)
class RegressionSpec(DataSpec):
    """Targets ``y`` (B,) are standardised, and so are inputs: those of the data are ``target_mean + target_sd y``.

    ``noise_sd``: of standardised targets, where the protocol gives it; else methods learn it.
    """

    target_mean: float
    target_sd: float
    noise_sd: float | None = None


METRICS = (
    Convention("rmse", "root mean squared error of the predictive mean", "", "lower", 0.0, note="in the target's unit"),
    Convention("target_nll", "negative log density of the target", "nats", "lower", note="of the predictive, in the target's unit"),
    Convention(
        "crps", "continuous ranked probability score", "", "lower", 0.0, note="closed form of Gaussian mixtures (Grimit et al. 2006, eq. 5)"
    ),
    share("coverage", "share of targets in the central interval", "none", "of the predictive's quantiles; @ says of how many per cent"),
    share("coverage_error", "coverage against what the interval says", "lower", "mean absolute difference, intervals of 50, 90, 95 %"),
    Convention(
        "interval_width", "mean width of the central interval", "", "none", 0.0, note="in the target's unit; @ says of how many per cent"
    ),
    Convention("variance_growth", "predictive variance over that among training inputs", "", "none", 0.0, note="of means over inputs"),
)
