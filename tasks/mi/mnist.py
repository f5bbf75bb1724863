"""Whether estimates of mutual information agree with each other on images, where none is known (Song and Ermon 2020, section 4.2).

X is an MNIST digit on 14 x 14 pixels (means of 2 x 2), h(X; t) its top t rows. Each estimate is of a law with a critic of its own, whose
inputs are two images wide, the second one black where there is only one:

* independence: I(X; X') of two images, which is 0; ``independence_error`` is its size over I(X; X);
* baseline: I(X; h(X; t)) / I(X; X), ``mi_ratio/baseline-t``, does not fall with t; ``mi_falls`` is the share of steps at which it does;
* data processing: I([X, X]; [h(X; t), h(X; t - 3)]) = I(X; h(X; t)), whose ratio ``mi_ratio/processing-t`` is 1; ``processing_error`` is
  the mean distance from it;
* additivity: I([X1, X2]; [h(X1; t), h(X2; t)]) = 2 I(X; h(X; t)) of two images, whose ratio ``mi_ratio/additivity-t`` is 2;
  ``additivity_error`` is the mean distance of half of it from 1.

``consistency_error``, which is primary, is the largest of the four. Denominators are at least 0.01 nats. No image is twice in a batch, so
that none is a negative of itself. Estimates are the mean over batches of 64 test images, which are in neither training nor validation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.kinds.information import PairsSpec
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, images, permutation, stand_in
from elboard.tasks.mi.base import Information

CARD = TaskCard(
    name="mi/mnist",
    title="Self-consistency of mutual information on MNIST",
    needs=("InformationEstimator",),
    primary="consistency_error",
    metrics=("consistency_error", "independence_error", "mi_falls", "processing_error", "additivity_error", "mi_estimate/baseline-14"),
    selection="consistency_error",
    data=("mnist",),
    papers=("055",),
    full="five times the steps of lite, on the same images; the paper's own are of 28 x 28 pixels, and CIFAR-10",
    work={"lite": (55_000, 166_400), "full": (55_000, 832_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64, "keep": "last"},
        "task": {"rows": [5, 14], "n_train": 800, "n_valid": 4, "n_test": 4},
    },
    "lite": {"train": {"epochs": 60, "batch_size": 64, "keep": "last", "validate_every": 0}, "task": {"n_test": 200}},
    "full": {"train": {"epochs": 300, "batch_size": 64, "keep": "last", "validate_every": 0}},
}
SIDE, LESS = 14, 3  # rows of an image; how many fewer a part of it has that is to add nothing
LEAST = 0.01  # nats of a denominator
FALL = 0.02  # of I(X; X), by which an estimate falls


class MNIST(Information, DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Information.Config):
        rows: list[Annotated[int, Range(4, 14)]] = field(default_factory=lambda: [5, 8, 11, 14])  # t; the last one all of them
        n_train: Count = 55_000  # images
        n_images: Count = 5000  # of validation

    def laws(self) -> int:
        return 1 + 3 * len(self.config.rows)

    def _images(self, split: str) -> Tensor:
        """Flat images ``(N, 196)`` of means of 2 x 2 pixels."""
        x, _ = stand_in(split) if self.budget == "smoke" else mnist(split)
        return torch.nn.functional.avg_pool2d(images(x), 2).flatten(1)

    def load_train(self) -> Data:
        x, width = self._images("train"), 2 * SIDE**2
        order = torch.from_numpy(permutation(len(x), 1))
        few = min(self.config.n_images, len(x) // 4)
        train, valid = x[order[few:][: self.config.n_train]], x[order[:few]]
        return Data(PairsSpec((width,), len(train), other=(width,), laws=self.laws()), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": self._images("test")}

    def pairs(self, of: Batch, n: int, generator: Generator) -> Batch:
        order = torch.randperm(len(of["x"]), generator=generator)
        first, second = of["x"][order[:n]], of["x"][order[-n:]]
        black = torch.zeros_like(first)

        def top(x: Tensor, t: int) -> Tensor:
            return torch.where(torch.arange(SIDE**2) < t * SIDE, x, 0)

        one, two, same = (torch.cat([first, other], dim=1) for other in (black, second, first))
        rows, pair = self.config.rows, torch.cat
        laws = [(one, pair([second, black], 1)), *((one, pair([top(first, t), black], 1)) for t in rows)]
        laws += [(same, pair([top(first, t), top(first, t - LESS)], 1)) for t in rows]
        laws += [(two, pair([top(first, t), top(second, t)], 1)) for t in rows]
        x, y = zip(*laws, strict=True)
        return {"x": torch.stack(x), "y": torch.stack(y)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = self.measure(self.estimates(method, data.valid, "valid") | self.known(), None)
        return {name: found[name] for name in ("consistency_error", "mi_falls")}

    def known(self) -> dict[str, np.ndarray]:
        return {"rows": np.array(self.config.rows)}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        mean, rows = observed["mean"], [int(t) for t in observed["rows"]]
        independent, (baseline, processing, additivity) = float(mean[0]), mean[1:].reshape(3, len(rows))
        whole = max(float(baseline[-1]), LEAST)
        ratios = {
            "baseline": baseline / whole,
            "processing": processing / np.maximum(baseline, LEAST),
            "additivity": additivity / np.maximum(baseline, LEAST),
        }
        found = {f"mi_ratio/{name}-{t}": float(of[i]) for name, of in ratios.items() for i, t in enumerate(rows)}
        found |= {f"mi_estimate/baseline-{t}": float(value) for t, value in zip(rows, baseline, strict=True)}
        errors = {
            "independence_error": abs(independent) / whole,
            "mi_falls": float((np.diff(baseline) < -FALL * whole).mean()),
            "processing_error": float(np.abs(ratios["processing"] - 1).mean()),
            "additivity_error": float(np.abs(ratios["additivity"] / 2 - 1).mean()),
        }
        variances = {f"mi_variance/baseline-{t}": float(value) for t, value in zip(rows, observed["variance"][1:], strict=False)}
        return found | variances | errors | {"consistency_error": max(errors.values()), "mi_estimate/independent": independent}
