"""Samples of MNIST, against its grey test images. Splits and sizes are those of ``generation/mnist``."""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.samples.base import Samples

CARD = TaskCard(
    name="samples/mnist",
    title="Samples of MNIST",
    needs=("Generator",),
    primary="fd",
    metrics=("fd", "kid", "gen_precision", "gen_recall"),
    selection="fd[mnist-cnn,n=500]",
    data=("mnist",),
    full="50,000 of the training images for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 5000), "full": (50_000, 10_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 200, "n_test": 200, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 15, "batch_size": 100, "validate_every": 3, "keep": "best"},
        "task": {"n_train": 20_000, "n_valid": 2000, "n_test": 10_000, "samples": 5000},
    },
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 10, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "samples": 10_000},
    },
}


class MNISTSamples(Samples):
    """See the module."""

    def source(self, split: str) -> np.ndarray:
        return loaders.mnist(split)[0]
