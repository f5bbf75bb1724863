"""CIFAR-10, 256 levels for each of the 3,072 values of an image (discretised logistic likelihood for variational autoencoders).

45,000 of the 50,000 training images train and 5,000 validate at full, by a permutation that belongs to the task; 20,000 and 2,000 at lite,
which takes the first 1,000 published test images. Multilayer perceptrons see an image as a flat vector, so numbers are far from those of
convolutional models in papers; they compare methods with each other.

Distances are taken in features of EfficientNet-Lite0. At lite 500 samples meet 1,000 test images, because an image takes 30 to 70 ms on
one core. Covariances of 1,280 features have no full rank then and the Frechet distance is biased upwards, so the board shows the kernel
distance, which is unbiased at any number of samples; ``fd`` stands in the records.

Smoke needs no download: digits scaled up to 32 x 32, each channel another function of them, and the network ``mnist-cnn`` on the mean of
the channels.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.data import loaders
from elboard.tasks.data.task import split_digits, upsampled_digits
from elboard.tasks.parts.images import Generation

CARD = TaskCard(
    name="generation/cifar10",
    title="CIFAR-10, 256 levels of three colours",
    needs=("Generator", "GreyLikelihood"),
    primary="bits_per_dim",
    metrics=("bits_per_dim", "nll", "elbo", "kid", "gen_precision", "gen_recall", "mse", "active_units"),
    selection="nll[k=50]",
    data=("cifar10", "efficientnet-lite0"),
    full="all of CIFAR-10 for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 51_500), "full": (45_000, 50_020_000)},
    version=2,
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50, "samples": 200, "network": "mnist-cnn"},
    },
    "lite": {
        "train": {"epochs": 10, "batch_size": 100, "validate_every": 2, "keep": "best"},
        "task": {"n_train": 20_000, "n_valid": 2000, "n_test": 1000, "nll_k": 100, "nll_n": 500, "samples": 500},
    },
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 5, "keep": "best"},
        "task": {"n_train": 45_000, "n_valid": 5000, "n_test": 10_000, "nll_k": 5000, "nll_n": 10_000, "samples": 10_000},
    },
}


class CIFAR10(Generation):
    """See the module."""

    bernoulli = False
    network = "efficientnet-lite0"

    def source(self, split: str) -> np.ndarray:
        return loaders.cifar10(split)[0]

    def smoke_source(self, split: str) -> np.ndarray:
        x, _ = upsampled_digits(32)
        return split_digits(np.stack([x, x // 2, 255 - x], axis=-1), split)
