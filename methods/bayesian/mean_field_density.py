"""Mean-field variational inference of a density that is given: a Gaussian with independent coordinates, by reparameterisation.

    min_{m, s} E_{eps ~ N(0, I)}[-log p(m + s eps)] - sum_j log s_j           (Bishop 2006, section 10.1)

Of a Gaussian density with the precision Lambda the optimum has its mean and the variances 1 / Lambda_jj.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.parts.densities import DensityMethod

CARD = MethodCard(
    name="mean-field-density",
    title="Mean-field Gaussian of a density",
    family="bayesian",
    home="posterior/gaussian",
    cite="textbook; Bishop 2006, section 10.1",
    defaults="convention",
)


class MeanFieldDensity(DensityMethod):
    """A mean and a deviation of each coordinate."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.mean = nn.Parameter(torch.zeros(spec.shape))
        self.log_sd = nn.Parameter(torch.zeros(spec.shape))

    def theta(self, noise: Tensor) -> Tensor:
        return self.mean + self.log_sd.exp() * noise

    def entropy(self, noise: Tensor) -> Tensor:
        return self.log_sd.sum() + 0.5 * len(self.mean) * math.log(2 * math.pi * math.e)
