"""Samples of Fashion-MNIST on 14 x 14 pixels, against its grey test images: for networks that see an image many times over.

Means of 2 x 2 pixels, rounded to the 256 levels; splits and sizes are those of ``generation/fashion-mnist``. The feature network is that of
28 x 28, which sees the images scaled up: distances compare with each other, not with those of ``samples/fashion-mnist``.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.data.task import halved, stand_in
from elboard.tasks.samples.base import Samples

CARD = TaskCard(
    name="samples/fashion14",
    title="Samples of Fashion-MNIST on 14 x 14 pixels",
    needs=("Generator",),
    primary="fd",
    metrics=("fd", "kid", "gen_precision", "gen_recall"),
    selection="fd[fashion-cnn,n=500]",
    data=("fashion-mnist",),
    full="50,000 of the training images for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 2000), "full": (50_000, 10_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 200, "n_test": 200, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 15, "batch_size": 100, "validate_every": 5, "keep": "best"},
        "task": {"n_train": 20_000, "n_valid": 2000, "n_test": 10_000, "samples": 2000},
    },
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 50, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "samples": 10_000},
    },
}


class Fashion14Samples(Samples):
    """See the module."""

    bernoulli = False
    network = "fashion-cnn"

    def source(self, split: str) -> np.ndarray:
        return halved(loaders.fashion_mnist(split)[0])

    def smoke_source(self, split: str) -> np.ndarray:
        return halved(stand_in(split)[0])
