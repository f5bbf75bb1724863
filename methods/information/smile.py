"""Smoothed mutual information lower-bound estimator, SMILE (Song and Ermon 2020).

    trained by    J = E_P[-softplus(-T)] - E_Q[softplus(T)],     greatest at T = log dP/dQ
    reported as   I_tau = E_P T - log E_Q e^{clip(T, -tau, tau)}                                 (section 5)

The ratio is clipped in the partition function alone, neither in E_P nor in training. From n pairs the variance of the clipped partition
function is at most (e^tau - e^-tau)^2 / (4n), whatever the mutual information, where without a clip it grows like e^I; what the clip takes
away is a bias upwards, so that I_tau bounds I from no side. ``tau=0`` is no clip, the paper's infinity: the value of Donsker and Varadhan.

Differences from the paper: those of :mod:`elboard.methods.information.base`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.methods.information.base import VariationalEstimator, apart, jensen_shannon, joint_mean, log_mean_exp

CARD = MethodCard(
    name="smile",
    title="Smoothed mutual information lower-bound estimator",
    family="information",
    home="mi/gaussian",
    paper="055",
    cite="Song and Ermon 2020",
    defaults="paper",
)


class SMILE(VariationalEstimator):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(VariationalEstimator.Config):
        tau: NonNegative = 5.0  # 1, 5 and infinity in the paper; 0: no clip

    def objective(self, scores: Tensor) -> Tensor:
        return jensen_shannon(scores)

    def value(self, scores: Tensor) -> Tensor:
        tau, others = self.config.tau, apart(scores)
        return joint_mean(scores) - log_mean_exp(others.clamp(-tau, tau) if tau else others)
