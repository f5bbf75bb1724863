"""Temperature scaling (Guo et al. 2017, section 4.2).

    p(y | x) = softmax(a(x) / T),     T = argmin_T - sum_i log softmax(a(x_i) / T)_{y_i}   over validation images

a are the logits of a finished classifier, which stays as it is: so does what it deems most probable. The mean of log-likelihoods is concave
in 1/T, and T is where its derivative, the mean over images of a_y - E_p[a], crosses zero.

Differences from the paper: the root by bisection (Brent's method) instead of a gradient method; 1/T is held within [1/100, 100], since of
validation images that are all classified rightly no T is the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import Classifier
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="temperature-scaling",
    title="Temperature scaling",
    family="calibration",
    home="calibration/mnist",
    cite="Guo et al. 2017",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)
LARGEST = 100.0  # of T and of 1/T
CHUNK = 250  # images a forward pass


def best_temperature(logits: Tensor, y: Tensor) -> float:
    """T of the greatest likelihood of the labels ``(N,)``, from logits ``(N, C)``; computed in double precision."""
    a = logits.double()
    right = a.gather(1, y[:, None]).mean()

    def slope(log_inverse: float) -> float:
        return float(right - ((a * math.exp(log_inverse)).softmax(1) * a).sum(1).mean())

    ends = -math.log(LARGEST), math.log(LARGEST)
    if slope(ends[0]) <= 0:  # of no use: the labels have lower logits than chance
        return LARGEST
    return 1 / LARGEST if slope(ends[1]) >= 0 else math.exp(-brentq(slope, *ends, xtol=1e-12))


class TemperatureScaling(Method, MaximumProbability, Classifier):
    """One number, fitted to validation images.

    Raises UserError for a base whose probabilities are not the softmax of its logits.

    Attributes:
        temperature: T, a scalar; 1 before it is fitted.
    """

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh: nothing is trained by gradients."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if getattr(type(self.base), "predict", None) is not ClassifierMethod.predict:
            raise UserError(f"{type(self.base).__name__} has no temperature: its probabilities are not the softmax of its logits")
        self.register_buffer("temperature", torch.ones(()))

    @torch.no_grad()
    def fit(self, data: Data, training: Any) -> None:
        device = next(self.base.parameters()).device
        logits = torch.cat([self.base(part.to(device)).cpu() for part in data.valid["x"].split(CHUNK)])
        self.temperature.fill_(best_temperature(logits, data.valid["y"]))

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return (self.base(x) / self.temperature).softmax(1)[None]
