"""Fashion-MNIST with its 256 grey levels as a discrete distribution (discretised logistic likelihood for variational autoencoders).

Grey and not binary, because its textures are mid-grey and Bernoulli noise would drown them. Splits as ``generation/mnist``.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/fashion-mnist",
    title="Fashion-MNIST, 256 grey levels",
    needs=("Generator", "GreyLikelihood"),
    primary="nll",
    metrics=("nll", "elbo", "bits_per_dim", "fd", "kid", "gen_precision", "gen_recall", "mse", "active_units"),
    selection="nll[k=50]",
    data=("fashion-mnist",),
    full="all of Fashion-MNIST for 300 epochs; no paper's own setting",
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


class FashionMNIST(Generation):
    """See the module."""

    bernoulli = False
    network = "fashion-cnn"

    def source(self, split: str) -> np.ndarray:
        return loaders.fashion_mnist(split)[0]
