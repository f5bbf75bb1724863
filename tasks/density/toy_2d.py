"""Seven patterns of the plane side by side, whose density is known: where a model's likelihood is lost, and how much of it.

Rings, spirals, a checkerboard, moons, a Swiss roll, 8 and 25 Gaussians (:mod:`elboard.tasks.data.toy`), a seventh of the points each,
as one density, so that one training shows all of them; ``task.patterns=[rings]`` takes one alone. Training, validation and test
points are drawn with seeds that belong to the task.

``nll[k=...]`` is the k-sample importance bound, or the exact value for methods that have it. ``excess_nll`` is what it is above that of
the true density on the same points, an estimate of the divergence of the model from the truth: 0 is perfect. Slices are means over the
points of one pattern, of the density of the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.data.task import chosen_by_likelihood
from elboard.tasks.data.toy import NAMES, Atlas, points

CARD = TaskCard(
    name="density/toy-2d",
    title="Seven patterns of the plane, as one density",
    needs=("RealLikelihood",),
    primary="nll",
    metrics=("nll", "excess_nll", "excess_nll/rings", "excess_nll/spirals", "excess_nll/checkerboard", "excess_nll/25-gaussians"),
    selection="nll[k=50]",
    full="five times the points of lite, for 500 instead of 100 epochs; no paper's own setting",
    work={"lite": (14_000, 700_000), "full": (70_000, 70_000_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "keep": "best"},
        "task": {"n_train": 500, "n_test": 100, "k": 8},
    },
    "lite": {
        "train": {"epochs": 100, "batch_size": 500, "validate_every": 10, "keep": "best"},
        "task": {"n_train": 14_000, "n_test": 1400, "k": 500},
    },
    "full": {
        "train": {"epochs": 500, "batch_size": 500, "validate_every": 25, "keep": "best"},
        "task": {"n_train": 70_000, "n_test": 14_000, "k": 5000},
    },
}
N_VALID = 500


class Toy2D(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"points": Examples(arrays=("log_p", "log_true", "pattern"), metrics=("nll*", "excess_nll*"))}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 70_000
        n_test: Count = 14_000
        k: Count = 5000
        patterns: list[Literal["rings", "spirals", "checkerboard", "moons", "swiss-roll", "8-gaussians", "25-gaussians"]] = field(
            default_factory=lambda: ["rings", "spirals", "checkerboard", "moons", "swiss-roll", "8-gaussians", "25-gaussians"]
        )

    def load_train(self) -> Data:
        c = self.config
        train, valid = (points(c.patterns, n, split)[0] for n, split in ((c.n_train, "train"), (N_VALID, "valid")))
        return Data(LikelihoodSpec((2,), len(train), likelihood="gaussian"), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        x, which = points(self.config.patterns, self.config.n_test, "test")
        return {"x": x, "pattern": torch.from_numpy(which)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return chosen_by_likelihood(method, data.valid["x"], self.device)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        log_p = torch.cat([method.log_evidence(part.to(self.device), self.config.k).float().cpu() for part in test["x"].split(500)])
        true = Atlas(self.config.patterns).log_density(test["x"].numpy())
        numbers = np.array([NAMES.index(name) for name in self.config.patterns])[test["pattern"].numpy()]
        arrays = {"log_p": log_p.numpy(), "log_true": true.astype(np.float32), "pattern": numbers.astype(np.uint8)}
        return Observed({**arrays, "k": np.array(self.config.k)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        log_p, true = observed["log_p"].astype(np.float64), observed["log_true"].astype(np.float64)
        found, k = {}, f"[k={int(observed['k'])}]"
        for ending, at in {"": slice(None), **{f"/{name}": observed["pattern"] == i for i, name in enumerate(NAMES)}}.items():
            if log_p[at].size:
                found |= {f"nll{k}{ending}": -float(log_p[at].mean()), f"excess_nll{k}{ending}": float((true[at] - log_p[at]).mean())}
        return found
