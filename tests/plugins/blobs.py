"""A small task outside the package: Gaussian blobs, for tests of the contract."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from elboard.bench.card import TaskCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data, Scores, Task

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
    @dataclass(kw_only=True)
    class Config(Task.Config):
        n: int = 200
        spread: float = 1.0

    def load(self):
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(self.config.n) % 3
        x = torch.eye(3)[y] * 2 + self.config.spread * torch.randn(self.config.n, 3, generator=generator)
        third = self.config.n // 3
        parts = [{"x": x[a : a + third], "y": y[a : a + third]} for a in (0, third, 2 * third)]
        return Data(ClassSpec((3,), third, n_classes=3), *parts)

    def _accuracy(self, method, batch):
        p = method.predict(batch["x"].to(self.device)).mean(0).cpu()
        return p, (p.argmax(1) == batch["y"]).float().mean().item()

    def validate(self, method, data):
        return {"accuracy": self._accuracy(method, data.valid)[1]}

    def evaluate(self, method, data, history):
        p, accuracy = self._accuracy(method, data.test)
        nll = -p.gather(1, data.test["y"][:, None]).log().mean().item()
        picture = (p * 255).byte().numpy()
        return Scores({"accuracy": accuracy, "class_nll": nll}, {"p": p.half().numpy()}, {"probabilities": picture})
