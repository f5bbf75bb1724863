"""A small method outside the package: logistic regression, for tests of the contract."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import Classifier
from elboard.bench.method import Method

CARD = MethodCard(name="test-linear", title="Logistic regression", family="test", splits=True, recipes={"wide": {"set": {"scale": 2.0}}})


class Linear(Method, Classifier):
    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.05
        scale: float = 1.0
        explode_at: int | None = None  # the loss becomes NaN from this epoch on
        raise_at: int | None = None
        pause: float = 0.0  # seconds a step, for tests that interrupt
        room: int = 0  # examples that fit in memory at once; 0: any number

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.head = torch.nn.Linear(spec.shape[0], spec.n_classes)

    def loss(self, batch):
        if self._trainer is not None:
            time.sleep(self.config.pause)
            if 0 < self.config.room < len(batch["x"]):
                raise torch.OutOfMemoryError("as asked")
        loss = F.cross_entropy(self.head(batch["x"]) * self.config.scale, batch["y"])
        if self._trainer is not None and self.config.explode_at is not None and self.current_epoch >= self.config.explode_at:
            loss = loss * float("nan")
        if self._trainer is not None and self.config.raise_at is not None and self.current_epoch >= self.config.raise_at:
            raise RuntimeError("as asked")
        return {"loss": loss}

    def predict(self, x, n_samples=1):
        return (self.head(x) * self.config.scale).softmax(1)[None]
