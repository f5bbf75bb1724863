"""Linearised implicit variational inference of a density that is given (Uppal, Stensbo-Smidt, Boomsma and Frellsen 2023).

    theta = c + g(z) + sigma eps,   min_q E_q[-log p(theta)] - H,   z as long as theta
    H = E_z (1/2) log det(J^T J + sigma^2 I)   or with ``entropy=smallest`` its bound by the least singular value of J = dg/dz

Differences from the paper, which has posteriors of networks: none but the target. See :mod:`elboard.methods.parts.implicit`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, Natural, Positive
from elboard.bench.task import DataSpec
from elboard.methods.parts.densities import DensityMethod
from elboard.methods.parts.implicit import DenseGenerator, entropy

CARD = MethodCard(
    name="livi-density",
    title="Linearised implicit variational inference of a density",
    family="bayesian",
    home="posterior/banana",
    paper="083",
    cite="Uppal et al. 2023",
    defaults="convention",
)


class LIVIDensity(DensityMethod):
    """A generator and its constant."""

    @dataclass(kw_only=True)
    class Config(DensityMethod.Config):
        widths: list[Count] = field(default_factory=lambda: [64, 64])
        noise_sd: Positive = 0.001  # sigma
        entropy: Literal["jacobian", "smallest"] = "jacobian"
        steps: Natural = 3  # towards the least singular value

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.constant = nn.Parameter(torch.zeros(spec.shape))
        self.generator = DenseGenerator(spec.shape[0], config.widths, spec.shape[0], 1.0)

    def theta(self, noise: Tensor) -> Tensor:
        return self.constant + self.generator(noise) + self.config.noise_sd * torch.randn_like(noise)

    def entropy(self, noise: Tensor) -> Tensor:
        c = self.config
        return entropy(self.generator, noise, c.noise_sd, len(self.constant), c.entropy, c.steps).mean()
