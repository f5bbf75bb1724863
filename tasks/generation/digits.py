"""scikit-learn's 8 x 8 digits with 17 grey levels, pixels binarised at random every time they are shown, Bernoulli likelihood.

1,400 images train and validate, 397 test, by a permutation that belongs to the task. Real data in seconds, without a download.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.data.task import split_digits
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/digits",
    title="Digits 8x8, dynamically binarised",
    needs=("Generator", "BinaryLikelihood"),
    primary="nll",
    metrics=("nll", "elbo", "fd", "kid", "gen_precision", "gen_recall", "mse", "active_units"),
    selection="nll[k=50]",
    data=("digits",),
    full="the data of lite for 1,000 instead of 200 epochs; no paper's own setting",
    work={"lite": (1200, 399_397), "full": (1200, 1_995_397)},
    version=2,
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 200, "batch_size": 100, "validate_every": 20, "keep": "best"},
        "task": {"n_train": 1200, "n_valid": 200, "n_test": 397, "nll_k": 1000, "nll_n": 397, "samples": 2000},
    },
    "full": {
        "train": {"epochs": 1000, "batch_size": 100, "validate_every": 50, "keep": "best"},
        "task": {"n_train": 1200, "n_valid": 200, "n_test": 397, "nll_k": 5000, "nll_n": 397, "samples": 10_000},
    },
}


class Digits(Generation):
    """See the module."""

    levels = 17
    network = "digits-cnn"

    def source(self, split: str) -> np.ndarray:
        return split_digits(loaders.digits()[0], split)

    smoke_source = source
