"""The posterior of a small network on the 8x8 digits of scikit-learn: what its averaged predictions are worth, and how fast chains mix.

1,000 training, 300 validation and 497 test images, a fixed random split; needs no download. ``iat`` is the mean over up to 50 weights of
the integrated autocorrelation time in steps. It is that of the chain's second half, 6,000 steps at lite, and estimates of it are too small
and vary where that is not many times as long. The last epoch is kept: a chain has no best one. The validation NLL is for the choice of
options.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.calibration import CLASSIFICATION, classification_metrics
from elboard.bench.metrics.chains import integrated_autocorrelation
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.loaders import digits
from elboard.tasks.data.task import DataTask, HalfPrecision, images, permutation

CARD = TaskCard(
    name="posterior/digits",
    title="A small network on digits 8x8: predictions and mixing of chains",
    needs=("Classifier", "MarkovChain"),
    primary="class_nll",
    metrics=("class_nll", "accuracy", "ece", "iat"),
    selection="class_nll",
    data=("digits",),
    papers=("003",),
    full="the data of lite for 4,000 instead of 1,200 epochs; no paper's own setting",
    work={"lite": (1000, 49_700), "full": (1000, 49_700)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 6, "batch_size": 50, "keep": "last"}, "task": {"n_train": 300, "n_samples": 8}},
    "lite": {"train": {"epochs": 1200, "batch_size": 100, "keep": "last", "validate_every": 400}},
    "full": {"train": {"epochs": 4000, "batch_size": 100, "keep": "last", "validate_every": 1000}},
}
N_VALID, N_TEST, LEVELS = 300, 497, 17
SPLIT_SEED = 3


class Digits(HalfPrecision, DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"test": Examples(arrays=("p", "y"), metrics=CLASSIFICATION)}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 1000
        n_samples: Count = 100  # draws of the weights

    def _part(self, part: slice) -> Batch:
        x, y = digits()
        of = permutation(len(y), SPLIT_SEED)[part]
        return {"x": images(x[of], LEVELS), "y": torch.from_numpy(y[of])}

    def load_train(self) -> Data:
        train = self._part(slice(N_TEST + N_VALID, N_TEST + N_VALID + self.config.n_train))
        spec = ClassSpec((1, 8, 8), len(train["y"]), n_classes=10)
        return Data(spec, train, self._part(slice(N_TEST, N_TEST + N_VALID)))

    def load_test(self, data: Data) -> Test:
        return self._part(slice(N_TEST))

    def probabilities(self, method: Any, x: torch.Tensor) -> np.ndarray:
        return method.predict(x.to(self.device), self.config.n_samples).mean(0).cpu().numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = classification_metrics(self.probabilities(method, data.valid["x"]), data.valid["y"].numpy())
        return {name: found[name] for name in ("class_nll", "accuracy")}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        trace = method.trace().cpu().numpy()
        arrays = {"p": self.probabilities(method, test["x"]), "y": test["y"].numpy()}
        if len(trace) > 1:  # else the chain has no time of its own
            arrays["iat"] = integrated_autocorrelation(trace) * method.stride
        return Observed(arrays)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        iat = {"iat": float(observed["iat"].mean())} if "iat" in observed else {}
        return {**classification_metrics(observed["p"], observed["y"]), **iat}
