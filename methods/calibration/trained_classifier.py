"""A trained classifier as it is: its predictions are scored on another task than the one that it was trained on, and nothing is trained.

    p(y | x),  p of the run ``classifier``

What classifiers do under shift is asked of networks that were trained on clean images (Ovadia et al. 2019). ``base.method=mc-dropout``
takes another classifier, ``base.dropout=0.5`` an option of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import FinishedClassifier, Predictor
from elboard.bench.method import Method
from elboard.bench.options import Options
from elboard.bench.task import Data

CARD = MethodCard(
    name="trained-classifier",
    title="A classifier of another task",
    family="calibration",
    home="calibration/mnist-shifted",
    cite="Ovadia et al. 2019",
    bases={
        "classifier": {
            "method": "softmax",
            "task": {
                "calibration/mnist-shifted": "calibration/mnist",
                "calibration/fashion-mnist-shifted": "calibration/fashion-mnist",
                "calibration/mnist-corrupted": "calibration/mnist",
                "calibration/fashion-mnist-corrupted": "calibration/fashion-mnist",
                "calibration/cifar10-corrupted": "ood/cifar10",
            },
        }
    },
    defaults="none",
)


class TrainedClassifier(Method, FinishedClassifier):
    """Nothing is learned."""

    @dataclass(kw_only=True)
    class Config(Options):
        """Nothing is trained by gradients."""

    @property
    def finished(self) -> Predictor:
        return self.base

    def fit(self, data: Data, training: Any) -> None:
        return

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self.base.predict(x, n_samples)
