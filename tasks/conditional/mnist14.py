"""MNIST on 14 x 14 pixels in grey, given the class of the digit: for networks that see an image many times over.

Means of 2 x 2 pixels, rounded to the 256 levels; splits are those of ``generation/mnist`` (20,000 training images at lite), test images the
first of the published ones. No likelihood is asked for. The classifier is that of 28 x 28 pixels, which sees images scaled up. Chance is
a control accuracy of 0.1. Smoke runs on scikit-learn's digits.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.tasks.conditional.mnist import ConditionalMNIST
from elboard.tasks.data.task import halved, images
from elboard.tasks.parts.images import digits_of

CARD = TaskCard(
    name="conditional/mnist14",
    title="MNIST on 14 x 14 pixels given the digit",
    needs=("ConditionalGenerator",),
    primary="control_accuracy",
    metrics=("control_accuracy", "fd", "kid", "gen_precision", "gen_recall", "diversity"),
    selection="control_accuracy[mnist-cnn]",
    data=("mnist",),
    papers=("097",),
    full="50,000 of the training images for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 2000), "full": (50_000, 10_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 100}, "task": {"n_train": 600, "n_valid": 200, "n_test": 200}},
    "lite": {"train": {"epochs": 15, "batch_size": 100, "validate_every": 15}, "task": {}},
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 50},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000},
    },
}


class ConditionalMNIST14(ConditionalMNIST):
    """See the module."""

    pixels = "grey"

    def examples(self, split: str, n: int) -> tuple[Tensor, np.ndarray]:
        x, y = digits_of(split, n, self.config.n_valid, self.budget)
        return images(halved(x)), y
