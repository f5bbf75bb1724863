"""scikit-learn's 8 x 8 digits as dequantised real vectors: held-out log density, where a linear model's evidence is exact.

A pixel of level l becomes (l + u) / 17 with u ~ U(0, 1) drawn once with a seed that belongs to the task, for training, validation and
test alike: all methods see one fixed set of real vectors. 1,200 / 200 / 397 images. ``nll[k=...]`` is the k-sample importance bound, or
the exact value for methods that have it (k is then without meaning). Densities are of vectors in units where a level has width 1/17; adding
64 ln 17 nats to the NLL gives a bound on the mass of grey levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import parse
from elboard.bench.task import Data, Scores
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, permutation

CARD = TaskCard(
    name="density/digits",
    title="Digits 8x8 as real vectors",
    needs=("RealLikelihood",),
    primary="nll",
    metrics=("nll", "elbo", "kl", "reconstruction"),
    selection="elbo",
    data=("digits",),
    papers=("025",),
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 100, "keep": "best"}, "task": {"k": 8}},
    "lite": {"train": {"epochs": 500, "batch_size": 100, "validate_every": 10, "keep": "best"}, "task": {"k": 1000}},
    "full": {"train": {"epochs": 3000, "batch_size": 100, "validate_every": 25, "keep": "best"}, "task": {"k": 5000}},
}
TERMS = ("elbo", "kl", "reconstruction")


class DigitsDensity(DataTask):
    """See the module."""

    # Evidence is in single precision, as are most methods' terms: at most 1e-7 of values up to a few hundred nats.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys((*TERMS, "nll"), (5e-5, 0.0))

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        k: int = 5000

    def load(self) -> Data:
        levels, _ = loaders.digits()
        x = (levels.reshape(len(levels), -1) + np.random.default_rng(0).random((len(levels), 64))) / 17
        x = torch.from_numpy(x[permutation(len(x), 0)]).float()
        train, valid, test = x[:1200], x[1200:1400], x[1400:]
        return Data(LikelihoodSpec((64,), len(train), likelihood="gaussian"), {"x": train}, {"x": valid}, {"x": test})

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"elbo": method.elbo(data.valid["x"].to(self.device))["elbo"].mean().item()}

    def evaluate(self, method: Any, data: Data, history: list[dict[str, float]]) -> Scores:
        x = data.test["x"].to(self.device)
        terms = {name: value.cpu().double() for name, value in method.elbo(x).items() if name != "z"}
        log_p = method.log_evidence(x, self.config.k).cpu().double()
        metrics = {name: _mean(value) for name, value in terms.items()}
        metrics[f"nll[k={self.config.k}]"] = -_mean(log_p)
        return Scores(metrics, {name: value.float().numpy() for name, value in {**terms, "log_evidence": log_p}.items()})

    @classmethod
    def recompute(cls, evidence: Mapping[str, np.ndarray], metrics: Iterable[str]) -> dict[str, float]:
        found = {name: _mean(torch.tensor(evidence[name]).double()) for name in TERMS if name in evidence}
        found["nll"] = -_mean(torch.tensor(evidence["log_evidence"]).double())
        keys = {name: parse(name) for name in metrics}
        return {name: found[key.name] for name, key in keys.items() if key.name in found and not key.slice}


def _mean(values: torch.Tensor) -> float:
    return values.mean().item()
