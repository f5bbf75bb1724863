"""Calibration on MNIST, clean and rotated by 15 to 90 degrees (after Ovadia et al. 2019).

lite trains on 5,000 images, few enough that a network can be confident and wrong; 1,000 more validate. 5,000 test images, of which 500 are
rotated. full trains on 55,000 and tests on all 10,000, of which 2,000 are rotated. Smoke runs on digits scaled up to 28 x 28.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.calibration.base import BUDGETS, Calibration, Labelled  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="calibration/mnist",
    title="MNIST, calibration under rotation",
    needs=("Classifier",),
    primary="class_nll",
    metrics=("class_nll", "accuracy", "brier", "ece", "class_nll/shift", "accuracy/shift", "brier/shift", "ece/shift"),
    selection="class_nll",
    data=("mnist",),
    papers=("012", "020"),
    full="all of MNIST for 50 epochs; no paper's own setting",
    work={"lite": (5000, 128_000), "full": (55_000, 704_000)},
    examples={
        "smoke": {"*/*": 50, "*": 200},
        "lite": {"*/*": 500, "*": 5000},
        "full": {"*/*": 2000, "*": 10_000},
    },
    version=2,
)


class MNISTCalibration(Calibration):
    """See the module."""

    def source(self, split: str) -> Labelled:
        return loaders.mnist(split)
