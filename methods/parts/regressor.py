"""What regressors share: a network, a linear head, and noise of one standard deviation, learned with them where no task gives it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.kinds.regression import Regressor
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.networks import MLP

LOG_SD = -1.0  # of the noise at the start, of standardised targets; the mean of that of the package vbll


def gaussian_nll(y: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """-log N(y; mean, exp(log_sd)^2) of each."""
    return 0.5 * ((y - mean) * (-log_sd).exp()) ** 2 + log_sd + 0.5 * math.log(2 * math.pi)


class RegressionMethod(Method, Regressor):
    """A deterministic network with Gaussian noise, trained by maximum likelihood; base of the others.

    ``features(x)`` gives the last hidden activations ``(B, H)``, the network's mean ``(B,)`` is ``head`` of them.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [50])  # Hernandez-Lobato and Adams 2015, section 5.2
        activation: Literal["relu", "tanh", "elu"] = "relu"
        dropout: Annotated[float, Range(0, below=1)] = 0.0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.backbone = MLP([math.prod(spec.shape), *config.hidden], config.activation, config.dropout)
        self.head = nn.Linear(self.backbone.n_features, 1)
        given = spec.noise_sd is not None
        self.log_sd = nn.Parameter(torch.tensor(math.log(spec.noise_sd) if given else LOG_SD), requires_grad=not given)

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))[:, 0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean = self(batch["x"])
        return {"loss": gaussian_nll(batch["y"], mean, self.log_sd).mean(), "mse": (batch["y"] - mean).square().mean()}

    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        mean = self(x)[None]
        return mean, self.log_sd.exp().expand_as(mean)
