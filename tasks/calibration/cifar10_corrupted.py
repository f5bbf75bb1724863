"""Six classes of CIFAR-10 under noise, blur, low contrast, brightness and pixelation, at the severities of CIFAR-10-C.

The classifiers are those of ``ood/cifar10``: one base run serves its detectors and this task, with the same classes, training and
validation images and network (ResNet-8 at lite, ResNet-20 at full). So numbers are of six classes, and do not compare with tables of
CIFAR-10-C, whose transforms differ in details too (:data:`elboard.tasks.parts.shifts.COLOUR`).

lite shows 500 test images under each kind at each severity, full 2,000. See the protocol.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.calibration.base import Labelled
from elboard.tasks.calibration.shifted import Corrupted
from elboard.tasks.data import loaders
from elboard.tasks.parts.open_set import CIFAR10_HELD_OUT, coloured_digits, separate
from elboard.tasks.parts.shifts import COLOUR

CARD = TaskCard(
    name="calibration/cifar10-corrupted",
    title="Six classes of CIFAR-10, calibration under five kinds of corruption",
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
    data=("cifar10",),
    full="classifiers of the full budget of ood/cifar10, 2,000 images under each corruption; no paper's own setting",
    work={"lite": (20_000, 211_200), "full": (29_000, 1_667_200)},
    examples={
        "smoke": {"*_correlation": "10 training images", "*": 20},
        "lite": {"*_correlation": "50 training images", "*": 500},
        "full": {"*_correlation": "50 training images", "*": 2000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 1, "batch_size": 50},
        "task": {"n_train": 256, "n_valid": 100, "n_test": 100, "n_shift": 20, "n_samples": 4, "n_masks": 8, "n_fit": 10},
    },
    "lite": {
        "train": {"epochs": 1, "batch_size": 50},
        "task": {"n_train": 20_000, "n_valid": 500, "n_test": 6000, "n_shift": 500, "n_samples": 16},
    },
    "full": {"train": {"epochs": 1, "batch_size": 50}, "task": {"n_valid": 1000, "n_test": 6000}},
}


class CIFAR10Corrupted(Corrupted):
    """See the module."""

    kinds = COLOUR
    split_seed = 0  # of the tasks of the family ood

    def source(self, split: str) -> Labelled:
        return loaders.cifar10(split)

    def _source(self, split: str) -> Labelled:
        """Of the six classes alone."""
        return separate(*(coloured_digits(split) if self.budget == "smoke" else self.source(split)), CIFAR10_HELD_OUT)[0]
