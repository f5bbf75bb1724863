"""MNIST: 0 to 5 in distribution, 6 to 9 held out; Fashion-MNIST, notMNIST and noise are far.

Four classes held out are common in open-set recognition (Neal et al. 2018, who draw several splits); here there is one, and it is fixed.
Each class has a look-alike among those that remain: 6 and 0, 7 and 1, 8 and 3, 9 and 4.

The lite budget trains on 10,000 of about 36,000 images and scores at most 2,000 images of each test set, drawn with a seed of the task.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.ood.base import Labelled, OODDetection

CARD = TaskCard(
    name="ood/mnist",
    title="MNIST 0 to 5 against 6 to 9, Fashion-MNIST, notMNIST and noise",
    needs=("OODScorer",),
    primary="auroc/mean",
    metrics=(
        "auroc/mean",
        "auroc/near",
        "auroc/far",
        "fpr95_id_positive/near",
        "fpr95_id_positive/far",
        "aupr_in/far",
        "aupr_out/far",
        "accuracy",
        "ece",
    ),
    selection="auroc/validation",
    data=("mnist", "fashion-mnist", "notmnist"),
    papers=("069",),
    full="all images for 30 epochs; no paper's own setting",
    work={"lite": (10_000, 75_000), "full": (35_517, 230_023)},
    examples={
        "smoke": {"*/*": "100 against 100", "*": 100},
        "lite": {"*/validation": "500 against 500", "*/*": "2,000 against 2,000", "*": 2000},
        "full": {"*/validation": "500 against 500", "*/*": "6,031 against 3,969 to 10,000", "*": 6031},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 8, "batch_size": 64, "validate_every": 4}, "task": {"n_train": 10_000, "n_valid": 500, "n_test": 2000}},
    "full": {"train": {"epochs": 30, "batch_size": 128, "validate_every": 5}, "task": {"n_valid": 500}},
}


class MNISTOOD(OODDetection):
    """See the module."""

    held_out = (6, 7, 8, 9)
    foreign = ("fashion-mnist", "notmnist")

    def source(self, split: str) -> Labelled:
        return loaders.mnist(split)

    def strangers(self) -> tuple[np.ndarray, ...]:
        return loaders.fashion_mnist("test")[0], loaders.notmnist()[0]
