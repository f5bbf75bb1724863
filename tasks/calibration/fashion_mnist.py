"""Calibration on Fashion-MNIST, clean and rotated by 15 to 90 degrees.

Sizes as ``calibration/mnist``. A classifier is wrong on about one clean image in ten here, so that over-confidence shows without rotation.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.calibration.base import BUDGETS, Calibration, Labelled  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="calibration/fashion-mnist",
    title="Fashion-MNIST, calibration under rotation",
    needs=("Classifier",),
    primary="class_nll",
    metrics=("class_nll", "accuracy", "brier", "ece", "class_nll/shift", "accuracy/shift", "brier/shift", "ece/shift"),
    selection="class_nll",
    data=("fashion-mnist",),
    papers=("012", "018", "020", "081", "083"),
    full="all of Fashion-MNIST for 50 epochs; no paper's own setting",
    work={"lite": (5000, 128_000), "full": (55_000, 704_000)},
    examples={
        "smoke": {"*/*": 50, "*": 200},
        "lite": {"*/*": 500, "*": 5000},
        "full": {"*/*": 2000, "*": 10_000},
    },
    version=2,
)


class FashionMNISTCalibration(Calibration):
    """See the module."""

    def source(self, split: str) -> Labelled:
        return loaders.fashion_mnist(split)
