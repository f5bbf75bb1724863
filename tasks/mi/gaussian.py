"""Gaussians whose mutual information is known, 2 to 10 nats, plain and with a cubed y (after Poole et al. 2019; Song and Ermon 2020).

x and y have 20 dimensions, and those of the same number correlate by rho: I = -10 log(1 - rho^2). The five values are 2, 4, 6, 8 and 10
nats, and each of them is a law twice, with y (``plain``) and with y^3 (``cubed``), which have the same mutual information. Pairs are new at
each step; all laws and all runs have the same test batches, up to rho.

Of each law, as slices ``/plain-6``: ``mi_estimate``, the mean over 1,000 batches of 64, ``mi_bias``, ``mi_variance`` and
``mi_mse`` = bias^2 + variance. ``mi_rmse`` is the root of the last, in nats; without a slice it is the mean over laws, and ``/high`` that
over those of 6 nats and more. ``mi_log_mse`` is the same of logarithms, in which no law of a variance without bounds decides alone, and
``mi_log_variance`` the logarithm of the variance. Batches of 64 cannot show more than log 64 = 4.16 nats to a bound that has a pair among
its own negatives.

The papers' values are the steps of a staircase that one critic climbs, 4,000 steps of training each, so that at 10 nats it has learned from
the other four; here each law has a critic of its own, which has seen no other. The variance is that of a fixed critic from batch to batch;
the paper's is that of an estimate during training.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.kinds.information import PairsSpec
from elboard.bench.options import Positive
from elboard.bench.task import Data
from elboard.tasks.mi.base import EPOCH, Information

CARD = TaskCard(
    name="mi/gaussian",
    title="Mutual information of Gaussians, plain and cubed",
    needs=("InformationEstimator",),
    primary="mi_rmse",
    metrics=(
        "mi_rmse",
        "mi_rmse/high",
        "mi_log_mse/high",
        "mi_mse/plain-6",
        "mi_bias/plain-10",
        "mi_variance/plain-10",
        "mi_bias/cubed-10",
    ),
    selection="mi_rmse",
    papers=("055",),
    full="the paper's 4,000 steps for each value, and 10,000 batches; each value has a critic of its own",
    work={"lite": (1280, 640_000), "full": (1280, 6_400_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 64, "keep": "last"}, "task": {"n_valid": 4, "n_test": 8}},
    "lite": {"train": {"epochs": 100, "batch_size": 64, "keep": "last", "validate_every": 0}},
    "full": {"train": {"epochs": 200, "batch_size": 64, "keep": "last", "validate_every": 0}, "task": {"n_test": 10_000}},
}
DIMENSIONS = 20
HIGH = 6.0
LEAST = 1e-12  # nats^2 whose logarithm is taken


def correlation(nats: float) -> float:
    """rho of pairs of :data:`DIMENSIONS` dimensions whose mutual information is ``nats``."""
    return math.sqrt(-math.expm1(-2 * nats / DIMENSIONS))


class Gaussian(Information):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Information.Config):
        values: list[Positive] = field(default_factory=lambda: [2.0, 4.0, 6.0, 8.0, 10.0])  # nats

    def load_train(self) -> Data:
        spec = PairsSpec((DIMENSIONS,), EPOCH, other=(DIMENSIONS,), laws=2 * len(self.config.values))
        return Data(spec)

    def pairs(self, of: Batch, n: int, generator: Generator) -> Batch:
        x, noise = torch.randn(2, n, DIMENSIONS, generator=generator)
        rho = torch.tensor([correlation(value) for value in self.config.values])[:, None, None]
        y = rho * x + (1 - rho.square()).sqrt() * noise
        return {"x": x.expand(2 * len(y), -1, -1).clone(), "y": torch.cat([y, y**3])}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = self.measure(self.estimates(method, {}, "valid") | self.known(), None)
        return {name: found[name] for name in ("mi_rmse", "mi_rmse/high")}

    def known(self) -> dict[str, np.ndarray]:
        return {"truth": np.array(self.config.values)}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        truth, variance = np.tile(observed["truth"], 2), observed["variance"]
        bias = observed["mean"] - truth
        columns = {"mi_estimate": observed["mean"], "mi_bias": bias, "mi_variance": variance, "mi_mse": bias**2 + variance}
        laws = [f"{kind}-{value:g}" for kind in ("plain", "cubed") for value in observed["truth"]]
        found = {f"{name}/{law}": float(value) for name, of in columns.items() for law, value in zip(laws, of, strict=True)}
        roots = np.sqrt(columns["mi_mse"])
        found |= {f"mi_rmse/{law}": float(value) for law, value in zip(laws, roots, strict=True)}
        logs = {name: np.log(np.maximum(columns[f"mi_{name}"], LEAST)) for name in ("mse", "variance")}
        found |= {f"mi_log_{name}/{law}": float(value) for name, of in logs.items() for law, value in zip(laws, of, strict=True)}
        high = truth >= HIGH if (truth >= HIGH).any() else truth == truth.max()
        means = {name: (float(of.mean()), float(of[high].mean())) for name, of in (("mi_rmse", roots), ("mi_log_mse", logs["mse"]))}
        return found | {f"{name}{part}": value for name, of in means.items() for part, value in zip(("", "/high"), of, strict=True)}
