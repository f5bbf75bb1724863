"""A task without data: a Gaussian target density, known up to a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.kinds import DataSpec
from elboard.bench.task import Data, Observed, Task

CARD = TaskCard(
    name="test/target", title="A Gaussian to sample from", needs=("Generator",), primary="mse", metrics=("mse",), selection="mse"
)
BUDGETS = {"smoke": {"train": {"epochs": 60, "validate_every": 20}}}


class Density:
    mean = torch.tensor([1.0, -2.0])

    def log_prob(self, z):
        return -2 * (z - self.mean).square().sum(1)  # standard deviation 1/2


class Target(Task):
    @dataclass(kw_only=True)
    class Config(Task.Config):
        pass

    def load_train(self):
        return Data(DataSpec((2,), 0), oracle=Density())

    def validate(self, method, data):
        return {"mse": (method.sample(1000).mean(0).cpu() - data.oracle.mean).square().mean().item()}

    def observe(self, method, data, test, history):
        return Observed({name: np.array(value) for name, value in self.validate(method, data).items()})

    @classmethod
    def measure(cls, observed, asked):
        return {"mse": float(observed["mse"])}
