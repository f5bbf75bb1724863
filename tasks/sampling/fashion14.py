"""Samples of unconditional models of Fashion-MNIST on 14 x 14 pixels, by the evaluations of their network that a sample costs.

What is drawn from was trained on ``samples/fashion14``; nothing is trained here. Of each number of evaluations ``samples`` are drawn:

* ``fd/eN``: Frechet distance from the test images with at most N evaluations a sample; ``fd/reference``: with ``reference`` of them, by the
  same sampler. Features are those of a classifier of 28 x 28 pixels, which sees images scaled.
* ``log_fd``: the logarithm of each of them, of which a difference of two models is a share of the distance whatever its scale.
* ``fd_ratio/eN``: the distance with N evaluations over that of the reference.

Evidence: the distances; these need the features themselves: only running the method again checks them. The picture has a row for each
number, the reference first. Selection: the distance of 500 samples of ten evaluations from validation images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, halved, images, permutation, stand_in
from elboard.tasks.parts import features
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid
from elboard.tasks.sampling.base import BATCH, SELECT_N

CARD = TaskCard(
    name="sampling/fashion14",
    title="Unconditional samples, by evaluations of the network",
    needs=("SteppedGenerator",),
    primary="fd/e10",
    metrics=("fd/e10", "fd/e25", "fd/e50", "fd/reference", "fd_ratio/e10", "log_fd/e10", "log_fd/reference"),
    selection="fd[fashion-cnn,n=500]/e10",
    data=("fashion-mnist",),
    papers=("108",),
    full="10,000 samples in up to 1,000 evaluations, the paper's range, of models of 300 epochs on other images than the paper's",
    work={"lite": (20_000, 485_000), "full": (50_000, 11_850_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 1},
        "task": {"n_train": 600, "n_valid": 40, "n_test": 200, "samples": 16, "reference": 20},
    },
    "lite": {"train": {"epochs": 1}, "task": {}},
    "full": {
        "train": {"epochs": 1},
        "task": {
            "n_train": 50_000, "n_valid": 10_000, "samples": 10_000,
            "evaluations": [10, 25, 50, 100], "reference": 1000,
        },
    },
}  # fmt: skip
NETWORK, SELECT_STEPS, LEAST = "fashion-cnn", 10, 1e-6


class UnconditionalSamples(DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2000
        n_test: Count = 10_000
        samples: Count = 1000
        evaluations: list[Count] = field(default_factory=lambda: [10, 25, 50])
        reference: Count = 400

    def _images(self, split: str) -> np.ndarray:
        """Of "train" or "test", uint8 (N, 14, 14)."""
        return halved(stand_in(split)[0] if self.budget == "smoke" else loaders.fashion_mnist(split)[0])

    def load_train(self) -> Data:
        """The splits of ``samples/fashion14``."""
        c, pool = self.config, self._images("train")
        pool = pool[permutation(len(pool), 1)]
        train, valid = images(pool[c.n_valid :][: c.n_train]), images(pool[: c.n_valid])
        spec = LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood="discretised-logistic")
        return Data(spec, {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": images(self._images("test")[: self.config.n_test])}

    def _moments(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        of = features.load(NETWORK, self.device)[2]
        return moments_of(torch.cat([of(part.to(self.device)).double().cpu() for part in x.split(BATCH)]).numpy())

    def _drawn(self, method: Any, n: int, evaluations: int) -> Tensor:
        parts = [method.sample_in(min(BATCH, n - i), evaluations).cpu() for i in range(0, n, BATCH)]
        return torch.cat(parts).clamp(0, 1)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            fake = self._drawn(method, min(SELECT_N, len(data.valid["x"])), SELECT_STEPS)
        return {CARD.selection: frechet_distance(*self._moments(data.valid["x"]), *self._moments(fake))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, (distance, network, _) = self.config, features.load(NETWORK, self.device)
        real, distances, rows = self._moments(test["x"]), [], []
        for evaluations in (c.reference, *c.evaluations):
            fake = self._drawn(method, c.samples, evaluations)
            distances.append(frechet_distance(*real, *self._moments(fake)))
            rows.append(fake[:10])
        arrays = {
            f"{distance}[{network}": np.array(distances),
            "samples": np.array(c.samples),
            "evaluations": np.array([0, *c.evaluations]),  # 0: the reference
        }
        return Observed(arrays, {"samples": grid(torch.cat(rows), len(rows[0]))})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        key = next(name for name in observed if name.startswith("fd["))
        parameters, found = f"{key.partition('[')[2]},n={int(observed['samples'])}", {}
        first = float(observed[key][0])
        for fd, evaluations in zip(observed[key].tolist(), observed["evaluations"].tolist(), strict=True):
            at = f"e{evaluations}" if evaluations else "reference"
            found |= {f"fd[{parameters}]/{at}": fd, f"log_fd[{parameters}]/{at}": math.log(max(fd, LEAST))}
            if evaluations:
                found[f"fd_ratio[{parameters}]/e{evaluations}"] = fd / first
        return found
