"""CIFAR-10 with the wrongest of three human labels a training image (CIFAR-10N "worst", Wei et al. 2022).

For each image one of the labels that disagree with the true one is taken if any of its three annotators gave one: 40.21 % of the labels are
wrong, and wrong the way people err (cat for dog, truck for automobile), not at random. Validation labels are of the same kind.

The smoke budget needs no download: digits in CIFAR's shape, with symmetric noise of the same rate in the place of the human labels.
Training images are shifted by up to four pixels and mirrored where the budget says so (He et al. 2016, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.task import Data
from elboard.tasks.data.loaders import cifar10, cifar10n
from elboard.tasks.noisy.base import Labelled, NoisyLabels, symmetric
from elboard.tasks.parts.augmentation import crop_and_flip

CARD = TaskCard(
    name="noisy/cifar10n-worst",
    title="CIFAR-10 with human labels, 40 % of them wrong",
    needs=("Classifier",),
    primary="accuracy_last10",
    metrics=("accuracy_last10", "accuracy_last", "accuracy_best", "accuracy_peak", "memorised", "label_precision", "class_nll", "ece"),
    selection="accuracy",
    data=("cifar10", "cifar10n"),
    papers=("013", "096"),
    full="all of CIFAR-10N but 5,000 validation images, for 100 epochs; no paper's own setting",
    work={"lite": (4000, 112_000), "full": (45_000, 440_000)},
    examples={
        "smoke": {"memorised": "256 training images", "label_precision": "256 training images", "accuracy_*": 497, "*": 497},
        "lite": {"memorised": "4,000 training images", "label_precision": "4,000 training images", "accuracy_*": 2000, "*": 10_000},
        "full": {"memorised": "45,000 training images", "label_precision": "45,000 training images", "accuracy_*": 10_000, "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128, "augment": True}},
    "lite": {"train": {"epochs": 30, "batch_size": 128}, "task": {"n_train": 4000, "n_valid": 1000, "n_track": 2000}},
    "full": {"train": {"epochs": 100, "batch_size": 128}, "task": {"n_valid": 5000, "augment": True}},
}


class CIFAR10NWorst(NoisyLabels):
    shape = (3, 32, 32)
    noise_rate = 0.4021
    transition = symmetric(10, noise_rate)  # of the smoke budget

    @dataclass(kw_only=True)
    class Config(NoisyLabels.Config):
        augment: bool = False

    def read(self, split: str) -> Labelled:
        return cifar10(split)

    def corrupted(self, x: np.ndarray, clean: np.ndarray) -> np.ndarray:
        return super().corrupted(x, clean) if self.budget == "smoke" else cifar10n()["worse_label"]

    def load_train(self) -> Data:
        data = super().load_train()
        data.on_batch = crop_and_flip if self.config.augment else None
        return data
