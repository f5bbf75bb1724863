"""MNIST given the class of the digit, pixels binarised at random every time they are shown.

The splits are those of ``generation/mnist`` (20,000 training images at lite), test images the first of the published ones. Chance is a
control accuracy of 0.1. Smoke runs on scikit-learn's digits scaled up to 28 x 28.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.tasks.conditional.base import Conditional
from elboard.tasks.data.task import images
from elboard.tasks.parts.images import digits_of

CARD = TaskCard(
    name="conditional/mnist",
    title="MNIST given the digit",
    needs=("ConditionalGenerator", "ConditionalLikelihood"),
    primary="control_accuracy",
    metrics=("control_accuracy", "fd", "kid", "gen_precision", "gen_recall", "diversity", "reconstruction", "kl", "elbo"),
    selection="control_accuracy[mnist-cnn]",
    data=("mnist",),
    papers=("073",),
    full="50,000 of the training images for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 4000), "full": (50_000, 20_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 100}, "task": {"n_train": 600, "n_valid": 200, "n_test": 200}},
    "lite": {"train": {"epochs": 12, "batch_size": 100, "validate_every": 6}, "task": {}},
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 50},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000},
    },
}


class ConditionalMNIST(Conditional):
    """See the module."""

    attributes = (10,)
    classifier = "mnist-cnn"

    def examples(self, split: str, n: int) -> tuple[Tensor, np.ndarray]:
        x, y = digits_of(split, n, self.config.n_valid, self.budget)
        return images(x), y
