"""An environment: a point is steered to the origin; batches are the starts of episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from elboard.bench.batches import OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.kinds import DataSpec
from elboard.bench.task import Data, Observed, Task

CARD = TaskCard(name="test/steering", title="Steering to the origin", needs=(), primary="mse", metrics=("mse",), selection="mse")
BUDGETS = {"smoke": {"train": {"epochs": 5, "batch_size": 16}}}


class Environment:
    horizon = 4

    def reset(self, n, generator):
        return torch.randn(n, 1, generator=generator)

    def step(self, state, action):
        after = state + action
        return after, -after.square().sum(1)


class Episodes(OwnBatches):
    def __init__(self, seed, environment, size):
        super().__init__(seed, steps=20)
        self.environment, self.size = environment, size

    def make(self, epoch, i, generator):
        return {"state": self.environment.reset(self.size, generator)}


class Steering(Task):
    @dataclass(kw_only=True)
    class Config(Task.Config):
        pass

    def load_train(self):
        return Data(DataSpec((1,), 0), oracle=Environment())

    def batches(self, data, train, seed):
        return Episodes(seed, data.oracle, train["batch_size"])

    def _returns(self, method, data, seed):
        state, total = data.oracle.reset(200, torch.Generator().manual_seed(seed)).to(self.device), 0.0
        for _ in range(data.oracle.horizon):
            state, reward = data.oracle.step(state, method.act(state))
            total += reward.mean().item()
        return {"mse": -total / data.oracle.horizon}

    def validate(self, method, data):
        return self._returns(method, data, 0)

    def observe(self, method, data, test, history):
        return Observed({name: np.array(value) for name, value in self._returns(method, data, 1).items()})

    @classmethod
    def measure(cls, observed, asked):
        return {"mse": float(observed["mse"])}
