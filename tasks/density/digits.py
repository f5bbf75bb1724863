"""scikit-learn's 8 x 8 digits as dequantised real vectors: held-out log density, where a linear model's evidence is exact.

A pixel of level l becomes (l + u) / 17 with u ~ U(0, 1) drawn once with a seed that belongs to the task, for training, validation and
test alike: all methods see one fixed set of real vectors. 1,200 / 200 / 397 images. ``nll[k=...]`` is the k-sample importance bound, or
the exact value for methods that have it (k is then without meaning). Densities are of vectors in units where a level has width 1/17; adding
64 ln 17 nats to the NLL gives a bound on the mass of grey levels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import bare, of_examples
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, chosen_by_likelihood, permutation

CARD = TaskCard(
    name="density/digits",
    title="Digits 8x8 as real vectors",
    needs=("RealLikelihood",),
    primary="nll",
    metrics=("nll", "elbo", "kl", "reconstruction"),
    selection="nll[k=50]",
    data=("digits",),
    papers=("025",),
    full="the data of lite for 3,000 instead of 500 epochs; no paper's own setting",
    work={"lite": (1200, 397_397), "full": (1200, 1_985_397)},
    version=2,
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 100, "keep": "best"}, "task": {"k": 8}},
    "lite": {"train": {"epochs": 500, "batch_size": 100, "validate_every": 10, "keep": "best"}, "task": {"k": 1000}},
    "full": {"train": {"epochs": 3000, "batch_size": 100, "validate_every": 25, "keep": "best"}, "task": {"k": 5000}},
}
TERMS = ("elbo", "kl", "reconstruction")
OF_EACH = (*TERMS, "log_evidence")


def _vectors(start: int, end: int | None) -> Tensor:
    """Those of the dequantised digits, in the order of the task, from ``start`` to ``end``: ``(N, 64)``."""
    levels, _ = loaders.digits()
    x = (levels.reshape(len(levels), -1) + np.random.default_rng(0).random((len(levels), 64))) / 17
    return torch.from_numpy(x[permutation(len(x), 0)[start:end]]).float()


class DigitsDensity(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=OF_EACH, metrics=(*TERMS, "nll"))}
    # Evidence is in single precision, as are most methods' terms: at most 1e-7 of values up to a few hundred nats.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys((*TERMS, "nll"), (5e-5, 0.0))

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        k: Count = 5000

    def load_train(self) -> Data:
        train, valid = _vectors(0, 1200), _vectors(1200, 1400)
        return Data(LikelihoodSpec((64,), len(train), likelihood="gaussian"), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": _vectors(1400, None)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return chosen_by_likelihood(method, data.valid["x"], self.device)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["x"].to(self.device)
        terms = {**method.elbo(x), "log_evidence": method.log_evidence(x, self.config.k)}
        arrays = {name: terms[name].cpu().double().numpy() for name in OF_EACH if name in terms}
        return Observed({**arrays, "k": np.array(self.config.k)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        means = {name: torch.tensor(observed[name]).double().mean().item() for name in OF_EACH if name in observed}
        nll = -means.pop("log_evidence")
        if "k" in observed:
            return {**means, f"nll[k={int(observed['k'])}]": nll}
        return {**means, **{key: nll for key in asked or () if bare(key) == "nll" and key == of_examples(key)}}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array.astype(np.float32) if name in OF_EACH else array for name, array in observed.items()}
