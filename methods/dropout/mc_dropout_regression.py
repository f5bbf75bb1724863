"""Monte-Carlo dropout for regression (Gal and Ghahramani 2016, section 5).

    p(y | x) = (1/S) sum_s N(y; f(x; W * m_s), s^2),     m_s ~ Bernoulli(1 - p) for each unit, scaled by 1 / (1 - p)

The network is trained under random masks and keeps them on at test time: a mixture of S Gaussians.

Differences from the paper: the noise s is learned with the weights instead of being searched on validation data; no mask falls on the
input; weight decay, there the prior's precision, is an option and off, as for the network without masks; 100 masks instead of 10,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.parts.masks import dropout_on
from elboard.methods.parts.regressor import RegressionMethod

CARD = MethodCard(
    name="mc-dropout-regression",
    title="Monte-Carlo dropout, regression",
    family="dropout",
    home="regression/uci-yacht",
    cite="Gal and Ghahramani 2016",
    splits=True,
    defaults="convention",
)


class MCDropoutRegression(RegressionMethod):
    """The shared network with dropout, a component for each mask."""

    @dataclass(kw_only=True)
    class Config(RegressionMethod.Config):
        dropout: float = 0.05  # the larger of the two rates that the paper searches

    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        """``n_samples`` components, one mask for each, input and unit."""
        with dropout_on(self):
            mean = torch.stack([self(x) for _ in range(n_samples)])
        return mean, self.log_sd.exp().expand_as(mean)
