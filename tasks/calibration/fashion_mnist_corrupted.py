"""Fashion-MNIST under noise, blur, low contrast, brightness and pixelation at five severities, for classifiers that were trained on
``calibration/fashion-mnist``.

Corruptions after MNIST-C (Mu and Gilmer 2019); noise, blur and contrast are those of ``calibration/fashion-mnist-shifted``. lite shows
250 test images under each kind at each severity, full 2,000. See the protocol.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.calibration.base import Labelled
from elboard.tasks.calibration.shifted import BUDGETS, Corrupted  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="calibration/fashion-mnist-corrupted",
    title="Fashion-MNIST, calibration under five kinds of corruption",
    needs=("FinishedClassifier",),
    primary="class_nll/shifted",
    metrics=(
        "class_nll/shifted",
        "accuracy/shifted",
        "ece/shifted",
        "ece/noise",
        "ece/blur",
        "ece/contrast",
        "ece/brightness",
        "ece/pixelation",
        "accuracy",
        "ece",
    ),
    selection="class_nll",
    data=("fashion-mnist",),
    full="classifiers of the full budget of calibration/fashion-mnist, 2,000 images under each corruption; no paper's own setting",
    work={"lite": (5000, 107_200), "full": (55_000, 1_667_200)},
    examples={
        "smoke": {"*_correlation": "10 training images", "*": 20},
        "lite": {"*_correlation": "50 training images", "*": 250},
        "full": {"*_correlation": "50 training images", "*": 2000},
    },
)


class FashionMNISTCorrupted(Corrupted):
    """See the module."""

    def source(self, split: str) -> Labelled:
        return loaders.fashion_mnist(split)
