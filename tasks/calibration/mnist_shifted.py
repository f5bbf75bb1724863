"""MNIST under eight kinds of shift at five severities, for classifiers that were trained on ``calibration/mnist``.

lite shows 250 test images under each shift, full 2,000. See the protocol.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.calibration.base import Labelled
from elboard.tasks.calibration.shifted import BUDGETS, Shifted  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="calibration/mnist-shifted",
    title="MNIST, calibration under eight kinds of shift",
    needs=("FinishedClassifier",),
    primary="class_nll/shifted",
    metrics=(
        "class_nll/shifted",
        "accuracy/shifted",
        "ece/shifted",
        "accuracy/rotation",
        "accuracy/deformation",
        "accuracy/noise",
        "accuracy",
        "ece",
    ),
    selection="class_nll",
    data=("mnist",),
    papers=("002",),
    full="classifiers of the full budget of calibration/mnist, 2,000 images under each shift; no paper's own setting",
    work={"lite": (5000, 167_200), "full": (55_000, 2_627_200)},
    examples={
        "smoke": {"*_correlation": "10 training images", "*": 20},
        "lite": {"*_correlation": "50 training images", "*": 250},
        "full": {"*_correlation": "50 training images", "*": 2000},
    },
)


class MNISTShifted(Shifted):
    """See the module."""

    def source(self, split: str) -> Labelled:
        return loaders.mnist(split)
