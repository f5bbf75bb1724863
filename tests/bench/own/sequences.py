"""A task with batches of its own: sequences x_t = 0.8 x_{t-1} + noise of different lengths, padded to the longest of each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from elboard.bench.batches import OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.kinds import DataSpec
from elboard.bench.task import Data, Observed, Task

CARD = TaskCard(name="test/sequences", title="Ragged sequences", needs=(), primary="mse", metrics=("mse",), selection="mse")
BUDGETS = {"smoke": {"train": {"epochs": 4, "batch_size": 8}}}


def draw(n, generator):
    length = torch.randint(2, 12, (n,), generator=generator)
    x = torch.zeros(n, int(length.max()))
    for t in range(1, x.shape[1]):
        x[:, t] = 0.8 * x[:, t - 1] + torch.randn(n, generator=generator)
    return {"x": x, "length": length}


class Ragged(OwnBatches):
    def __init__(self, seed, steps, size):
        super().__init__(seed, steps)
        self.size = size

    def make(self, epoch, i, generator):
        return draw(self.size, generator)


class Sequences(Task):
    @dataclass(kw_only=True)
    class Config(Task.Config):
        pass

    def load_train(self):
        return Data(DataSpec((1,), 0), valid=draw(100, torch.Generator().manual_seed(0)))

    def batches(self, data, train, seed):
        return Ragged(seed, 6, train["batch_size"])

    def validate(self, method, data):
        return {"mse": method.loss({name: value.to(self.device) for name, value in data.valid.items()})["loss"].item()}

    def observe(self, method, data, test, history):
        return Observed({name: np.array(value) for name, value in self.validate(method, data).items()})

    @classmethod
    def measure(cls, observed, asked):
        return {"mse": float(observed["mse"])}
