"""MNIST with 40 % of the training labels wrong, which ones and how depending on the image.

Part-dependent noise of rate 0.4 (Xia et al. 2020; see :mod:`elboard.tasks.noisy.instance`), of which a correction by one matrix for all
images of a class is no description. Otherwise as noisy/mnist-sym50.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.data.loaders import mnist
from elboard.tasks.noisy.base import Labelled
from elboard.tasks.noisy.instance import InstanceNoise

CARD = TaskCard(
    name="noisy/mnist-instance40",
    title="MNIST, 40 % of the labels wrong depending on the image",
    needs=("Classifier",),
    primary="accuracy_last10",
    metrics=("accuracy_last10", "accuracy_last", "accuracy_best", "accuracy_peak", "memorised", "label_precision", "class_nll", "ece"),
    selection="accuracy",
    data=("mnist",),
    full="all of MNIST but 5,000 validation images, for 100 epochs; no paper's own setting",
    work={"lite": (4000, 112_000), "full": (55_000, 520_000)},
    examples={
        "smoke": {"memorised": "256 training images", "label_precision": "256 training images", "accuracy_*": 497, "*": 497},
        "lite": {"memorised": "4,000 training images", "label_precision": "4,000 training images", "accuracy_*": 2000, "*": 10_000},
        "full": {"memorised": "55,000 training images", "label_precision": "55,000 training images", "accuracy_*": 10_000, "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128}},
    "lite": {"train": {"epochs": 30, "batch_size": 128}, "task": {"n_train": 4000, "n_valid": 1000, "n_track": 2000}},
    "full": {"train": {"epochs": 100, "batch_size": 128}, "task": {"n_valid": 5000}},
}


class MNISTInstance40(InstanceNoise):
    noise_rate = 0.4

    def read(self, split: str) -> Labelled:
        return mnist(split)
