"""A cubic seen in two clusters: what a predictive says between them and outside, where there were no examples.

    y = x^3 + e,   e ~ N(0, 3^2),   x uniform on [-4, -2] and [2, 4]

after Hernandez-Lobato and Adams (2015, section 5.1), whose inputs fill [-4, 4], with a gap as in Foong et al. (2019). 100 examples train,
50 validate, half of each in a cluster: the same for all seeds. Test inputs are an even grid on [-6, 6], and slices its parts:

* ``/inside``: within the clusters, ``/between`` and ``/outside`` them; without a slice all of it.
* target_nll, crps, coverage: not of drawn targets but expected under the known law N(x^3, 3^2). rmse: from x^3.
* variance_growth: predictive variance, noise included, meaned over inputs between or outside the clusters, over that inside. It is 1 of a
  homoscedastic network that is certain of its weights.

No method could know x^3 where it has seen nothing: the error there is no flaw, but that nothing says so is one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.metrics.regression import of_each_law, regression_metrics
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.regression.base import Regression

CARD = TaskCard(
    name="regression/gap",
    title="A cubic in two clusters: uncertainty between and outside them",
    needs=("Regressor",),
    primary="target_nll",
    metrics=(
        "target_nll",
        "target_nll/inside",
        "target_nll/between",
        "target_nll/outside",
        "variance_growth/between",
        "variance_growth/outside",
        "coverage@90/inside",
        "coverage@90/between",
        "coverage@90/outside",
        "coverage_error",
        "crps",
        "rmse/inside",
        "rmse/between",
    ),
    selection="target_nll",
    papers=("012", "083"),
    full="the data of lite for five times as long; no paper's own setting",
    work={"lite": (100, 30_000), "full": (100, 30_000)},
    examples={
        "smoke": {"*/*": "300 inputs, a third of them in each slice", "*": 300},
        "lite": {"*/*": "300 inputs, a third of them in each slice", "*": 300},
        "full": {"*/*": "300 inputs, a third of them in each slice", "*": 300},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 4, "batch_size": 25, "keep": "last"}, "task": {"n_samples": 4, "valid_samples": 2}},
    "lite": {"train": {"epochs": 1000, "batch_size": 25, "keep": "last", "validate_every": 250}},
    "full": {"train": {"epochs": 5000, "batch_size": 25, "keep": "last", "validate_every": 1000}},
}
NEAR, FAR, EDGE = 2.0, 4.0, 6.0
NOISE = 3.0
N_TRAIN, N_VALID, N_TEST = 100, 50, 300
SLICES = ("inside", "between", "outside")


def truth(x: np.ndarray) -> np.ndarray:
    """The mean of the targets."""
    return x**3


def slice_of(x: np.ndarray) -> np.ndarray:
    """Index in :data:`SLICES` of each input."""
    return np.select([np.abs(x) < NEAR, np.abs(x) > FAR], [1, 2], 0)


class Gap(Regression):
    """See the module."""

    def load_train(self) -> Data:
        return self.standardised(_drawn(N_TRAIN, 0), _drawn(N_VALID, 1))

    def load_test(self, data: Data) -> Test:
        x = (np.arange(N_TEST) + 0.5) / N_TEST * 2 * EDGE - EDGE
        grid = {"x": torch.from_numpy(x)[:, None], "y": torch.from_numpy(truth(x))}
        return {**self.in_units(grid, _drawn(N_TRAIN, 0)["x"], data.spec), "at": grid["x"][:, 0]}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["at"].numpy()
        each = of_each_law(*self.predictive(method, test["x"], data.spec, self.config.n_samples), truth(x), NOISE)
        return Observed({"x": x.astype(np.float32), **{name: array.astype(np.float32) for name, array in each.items()}})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        of, found = slice_of(observed["x"]), regression_metrics(observed)
        variance = observed["sd"].astype(np.float64) ** 2
        for i, name in enumerate(SLICES):
            part = regression_metrics({key: array[of == i] for key, array in observed.items()})
            found |= {f"{key}/{name}": value for key, value in part.items()}
            if i:
                found[f"variance_growth/{name}"] = float(variance[of == i].mean() / variance[of == 0].mean())
        return found


def _drawn(n: int, seed: int) -> Batch:
    """Half of ``n`` examples in each cluster."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(NEAR, FAR, n) * np.where(np.arange(n) % 2, 1, -1)
    return {"x": torch.from_numpy(x)[:, None], "y": torch.from_numpy(truth(x) + NOISE * rng.normal(size=n))}
