"""MNIST with pixels binarised at random every time they are shown, Bernoulli likelihood.

50,000 of the 60,000 training images train and 10,000 validate, by a permutation that belongs to the task; the published test images test.
lite takes 20,000 and 2,000 of them and the importance bound of 200 samples on 1,000 test images; full is the protocol of Burda et al. 2016
but for the size of the validation set. Smoke runs on digits scaled up to 28 x 28.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/mnist",
    title="MNIST, dynamically binarised",
    needs=("Generator", "BinaryLikelihood"),
    primary="nll",
    metrics=("nll", "elbo", "fd", "kid", "gen_precision", "gen_recall", "mse", "active_units"),
    selection="nll[k=50]",
    data=("mnist",),
    papers=("007", "021", "025"),
    full="the data of Burda et al. 2016 but for 10,000 instead of 400 validation images; 300 of their 3,280 epochs",
    work={"lite": (20_000, 215_000), "full": (50_000, 50_020_000)},
    version=2,
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 15, "batch_size": 100, "validate_every": 3, "keep": "best"},
        "task": {"n_train": 20_000, "n_valid": 2000, "n_test": 10_000, "nll_k": 200, "nll_n": 1000, "samples": 5000},
    },
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 5, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "nll_k": 5000, "nll_n": 10_000, "samples": 10_000},
    },
}


class MNIST(Generation):
    """See the module."""

    def source(self, split: str) -> np.ndarray:
        return loaders.mnist(split)[0]
