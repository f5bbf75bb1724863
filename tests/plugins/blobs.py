"""A small task outside the package: Gaussian blobs, for tests of the contract."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.calibration import classification_metrics
from elboard.bench.task import Data, Observed, Task

CARD = TaskCard(
    name="test/blobs",
    title="Three Gaussian blobs",
    needs=("Classifier",),
    primary="accuracy",
    metrics=("accuracy", "class_nll"),
    selection="accuracy",
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 32}, "task": {"n": 200}},
    "lite": {"train": {"epochs": 10, "batch_size": 32}, "task": {"n": 2000}},
}


class Blobs(Task):
    sets = {"test": Examples(arrays=("p", "y"), metrics=("*",))}
    unreported = ("brier", "ece", "adaptive_ece", "classwise_ece", "entropy")

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n: int = 200
        spread: float = 1.0

    def _part(self, i):
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(self.config.n) % 3
        x = torch.eye(3)[y] * 2 + self.config.spread * torch.randn(self.config.n, 3, generator=generator)
        third = self.config.n // 3
        return {"x": x[i * third : (i + 1) * third].clone(), "y": y[i * third : (i + 1) * third].clone()}

    def load_train(self):
        return Data(ClassSpec((3,), self.config.n // 3, n_classes=3), self._part(0), self._part(1))

    def load_test(self, data):
        return self._part(2)

    def _p(self, method, batch):
        return method.predict(batch["x"].to(self.device)).mean(0).cpu().numpy()

    def validate(self, method, data):
        return {"accuracy": float((self._p(method, data.valid).argmax(1) == data.valid["y"].numpy()).mean())}

    def observe(self, method, data, test, history):
        p = self._p(method, test)
        return Observed({"p": p, "y": test["y"].numpy()}, {"probabilities": (p * 255).astype(np.uint8)})

    @classmethod
    def measure(cls, observed, asked):
        return classification_metrics(observed["p"], observed["y"])
