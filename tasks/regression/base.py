"""Regression with a distribution for each target: what the family's tasks share, and the protocol of those on tables of UCI.

Methods see inputs and targets standardised by the mean and standard deviation of the training examples, and predict in that unit; scores
are in the target's own. The predictive is a mixture of ``n_samples`` Gaussians, or one.

* target_nll, crps: of the mixture, mean over test examples. rmse: of its mean.
* coverage@K, interval_width@K: of the interval between the mixture's quantiles, (100 - K) / 2 per cent on each side.

On tables (``uci-*``), the protocol of Hernandez-Lobato and Adams (2015): 90 % of the examples train, 10 % test, in 20 fixed splits (of
protein, 5). Seed s has split s (modulo 20): a record is one split, and the spread over seeds is that over splits and starts, as in
published tables. Their generator is known, so that the splits are computed (``numpy.random.seed(1)``, one permutation each), for protein
those after the fifth too.

The splits overlap: what one tests another trains on, and nothing may be chosen by what any of them tests. Some 12 % of the examples are
tested by none of 20; as many of these as a tenth of the table are validation examples, the same for all seeds, and are held out of
training, which has 80 % then. Published numbers are of networks that were trained on 90 %. Rows of a table that are equal may stand on both
sides of a split, as published (240 of 1,599 wines are copies of others), and of validation and test too: of the 159 wines that validate 40
equal one that some split tests, of 103 mixtures of concrete 2. Validation chooses nothing where nothing is searched; a search on such a
table sees a little of what is tested.

The last epoch is kept. Evidence: a row of numbers for each test example.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.regression import RegressionSpec
from elboard.bench.metrics.regression import of_each, regression_metrics
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, permutation

BUDGETS = {
    "smoke": {"train": {"epochs": 4, "batch_size": 32, "keep": "last"}, "task": {"n_samples": 4, "valid_samples": 2}},
    "lite": {"train": {"epochs": 400, "batch_size": 32, "keep": "last", "validate_every": 100}},
    "full": {"train": {"epochs": 400, "batch_size": 32, "keep": "last", "validate_every": 100}},
}
LARGE = {  # of tables of about ten thousand examples
    "smoke": {"train": {"epochs": 4, "batch_size": 32, "keep": "last"}, "task": {"n_samples": 4, "valid_samples": 2}},
    "lite": {"train": {"epochs": 40, "batch_size": 32, "keep": "last", "validate_every": 10}},
    "full": {"train": {"epochs": 400, "batch_size": 32, "keep": "last", "validate_every": 100}},
}
LARGEST = {
    "smoke": {"train": {"epochs": 4, "batch_size": 32, "keep": "last"}, "task": {"n_samples": 4, "valid_samples": 2}},
    "lite": {"train": {"epochs": 10, "batch_size": 32, "keep": "last", "validate_every": 5}},
    "full": {"train": {"epochs": 400, "batch_size": 32, "keep": "last", "validate_every": 100}},
}
OF_EACH = ("x", "y", "mean", "sd", "log_density", "crps", "pit", "cover", "width")
TESTED, VALIDATED = 10, 10  # one example of ten
SPLITS = 20
SPLIT_SEED, VALID_SEED = 1, 0


class Regression(DataTask):
    """Standardisation, predictions and scores; a subclass gives the examples."""

    sets: ClassVar[Sets] = {"test": Examples(arrays=OF_EACH, metrics=("*",))}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_samples: Count = 100  # draws of the predictive
        valid_samples: Count = 20

    def standardised(self, train: Batch, valid: Batch) -> Data:
        """Data of examples in their own units: ``x`` (N, D), ``y`` (N,) and whatever else, in double precision."""
        x, y = train["x"], train["y"]
        spec = RegressionSpec((x.shape[1],), len(x), target_mean=y.mean().item(), target_sd=y.std(correction=0).item())
        return Data(spec, *(self.in_units(part, x, spec) for part in (train, valid)))

    @staticmethod
    def in_units(part: Batch, x: Tensor, spec: RegressionSpec) -> Batch:
        """``part`` with ``x`` and ``y`` in single precision, standardised by the training inputs ``x`` and by what ``spec`` says."""
        varies = (x != x[0]).any(0)  # not sd > 0: means of equal numbers are rounded, by the order in which a machine adds them up
        inputs = (part["x"] - x.mean(0)) / torch.where(varies, x.std(0, correction=0), 1.0)  # one that does not vary tells nothing
        return {**part, "x": inputs.float(), "y": ((part["y"] - spec.target_mean) / spec.target_sd).float()}

    def predictive(self, method: Any, x: Tensor, spec: RegressionSpec, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the components in the target's own unit, each ``(S, N)``."""
        mean, sd = (of.cpu().double().numpy() for of in method.predictive(x.to(self.device), n_samples))
        return spec.target_mean + spec.target_sd * mean, spec.target_sd * sd

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        y = data.spec.target_mean + data.spec.target_sd * data.valid["y"].double().numpy()
        found = regression_metrics(of_each(*self.predictive(method, data.valid["x"], data.spec, self.config.valid_samples), y))
        return {name: found[name] for name in ("target_nll", "rmse", "crps")}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        each = of_each(*self.predictive(method, test["x"], data.spec, self.config.n_samples), test["target"].numpy())
        return Observed({name: array.astype(np.float32) for name, array in each.items()})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        return regression_metrics(observed)


class UCI(Regression):
    """Regression on the table that the card names."""

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        return generated_table() if self.budget == "smoke" else loaders.uci(self.card.data[0].removeprefix("uci-"))

    def _part(self, of: int) -> Batch:
        """Training, validation or test examples: ``of`` 0, 1 or 2."""
        x, y = self._rows()
        row = parts(len(y), self.seed)[of]
        return {"x": torch.from_numpy(x[row]), "y": torch.from_numpy(y[row]), "row": torch.from_numpy(row)}

    def load_train(self) -> Data:
        return self.standardised(self._part(0), self._part(1))

    def load_test(self, data: Data) -> Test:
        test = self._part(2)
        return {**self.in_units(test, self._part(0)["x"], data.spec), "target": test["y"]}


def parts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for training, validation and testing of ``n`` with the seed's split, in increasing order."""
    random = np.random.RandomState(SPLIT_SEED)
    n_train = round(n * (TESTED - 1) / TESTED)
    tested = [random.permutation(n)[n_train:] for _ in range(SPLITS)]
    never = permutation(n, VALID_SEED)
    valid = never[~np.isin(never, np.concatenate(tested))][: n // VALIDATED]
    test = tested[seed % SPLITS]
    return np.setdiff1d(np.arange(n), np.concatenate([test, valid])), np.sort(valid), np.sort(test)


def generated_table(n: int = 240, inputs: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A table for the smoke budget: a smooth function of normal inputs, with noise and in units of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, inputs))
    return 5 + 3 * x, 20 + 8 * (np.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=n))
