"""The next value of noisy waves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from elboard import Data, Observed, SeriesSpec, Task, TaskCard

CARD = TaskCard(
    name="forecasts/waves", title="Waves", needs=("Forecaster",), primary="wave_crps", metrics=("wave_crps",), selection="wave_crps"
)
BUDGETS = {"smoke": {"train": {"epochs": 3}}, "lite": {"train": {"epochs": 30}}, "full": {"train": {"epochs": 300}}}


def crps(mean, std, y):
    """Of N(mean, std^2) at y, meaned (Gneiting and Raftery 2007, eq. 21)."""
    z = (y - mean) / std
    cdf = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in z])
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return float((std * (z * (2 * cdf - 1) + 2 * density - 1 / math.sqrt(math.pi))).mean())


class Waves(Task):
    @dataclass(kw_only=True)
    class Config(Task.Config):
        lags: int = 4

    def part(self, i):
        rng = np.random.default_rng(0)
        waves = np.sin(rng.uniform(0, 6, (300, 1)) + np.arange(self.config.lags + 1)) + 0.1 * rng.normal(size=(300, self.config.lags + 1))
        part = torch.tensor(waves[i : i + 100]).float()
        return {"x": part[:, :-1].clone(), "y": part[:, -1].clone()}

    def load_train(self):
        return Data(SeriesSpec((self.config.lags,), 100, lags=self.config.lags), self.part(0), self.part(100))

    def load_test(self, data):
        return self.part(200)

    def forecasts(self, method, batch):
        mean, std = (part.double().cpu().numpy() for part in method.forecast(batch["x"].to(self.device)))
        return {"mean": mean, "std": std, "y": batch["y"].double().numpy()}

    def validate(self, method, data):
        return {"wave_crps": crps(**self.forecasts(method, data.valid))}

    def observe(self, method, data, test, history):
        return Observed(self.forecasts(method, test))

    @classmethod
    def measure(cls, observed, asked):
        return {"wave_crps": crps(**observed)}
