"""Independent Gaussians of the pixels of normal images, the simplest detector that says where (Chandola, Banerjee and Kumar 2009).

    map(p) = mean over channels of (x(p) - m(p))^2 / v(p),   score = sum_p map(p) or max_p map(p)

with mean and variance of each pixel over the normal training images. The sum is the negative log-likelihood up to constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.anomaly import AnomalyMap
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options, Positive
from elboard.bench.task import Data, DataSpec

CARD = MethodCard(
    name="pixel-gaussian",
    title="Independent Gaussians of pixels",
    family="anomaly",
    home="anomaly/streets",
    cite="Chandola, Banerjee and Kumar 2009",
    defaults="convention",
)


class PixelGaussian(Method, AnomalyMap):
    """Fitted in closed form."""

    @dataclass(kw_only=True)
    class Config(Options):
        score: Literal["sum", "max"] = "sum"
        floor: Positive = 1e-4  # of the variances

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("mean", torch.zeros(spec.shape))
        self.register_buffer("variance", torch.ones(spec.shape))

    def fit(self, data: Data, training: Any) -> None:
        x = data.train["x"][data.train["y"] == 0].double()
        self.mean.copy_(x.mean(0))
        self.variance.copy_(x.var(0, correction=0).clamp(min=self.config.floor))

    def anomaly_map(self, x: Tensor) -> Tensor:
        return ((x - self.mean).square() / self.variance).mean(1)

    def anomaly_score(self, x: Tensor) -> Tensor:
        found = self.anomaly_map(x)
        return found.amax((1, 2)) if self.config.score == "max" else found.sum((1, 2))
