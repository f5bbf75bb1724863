"""A line through the known values, with one deviation for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from elboard import Method, MethodCard
from forecasts.kind import Forecaster

CARD = MethodCard(name="line", title="Linear forecast", family="forecasts", home="forecasts/waves", cite="textbook")


class Line(Method, Forecaster):
    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.05

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.line, self.log_std = torch.nn.Linear(spec.lags, 1), torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        mean, std = self.forecast(batch["x"])
        return {"loss": -torch.distributions.Normal(mean, std).log_prob(batch["y"]).mean()}

    def forecast(self, x):
        mean = self.line(x)[:, 0]
        return mean, self.log_std.exp().expand_as(mean)
