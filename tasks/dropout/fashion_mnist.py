"""Random masks on few images: 5,000 of Fashion-MNIST, which a network without masks over-fits.

lite is 20 epochs of 100 steps; full is all images for 50 epochs. See the family's protocol.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.dropout.base import Masks

CARD = TaskCard(
    name="dropout/fashion-mnist",
    title="Random masks on 5,000 images of Fashion-MNIST",
    needs=("MaskedClassifier",),
    primary="class_nll",
    metrics=("class_nll", "accuracy", "train_nll", "mask_divergence", "mc_gap"),
    selection="class_nll",
    data=("fashion-mnist",),
    papers=("018", "028", "030"),
    full="all of Fashion-MNIST for 50 epochs; no paper's own setting",
    work={"lite": (5000, 170_000), "full": (55_000, 335_000)},
    examples={
        "smoke": {"train_nll": "200 training images", "*": 200},
        "lite": {"train_nll": "5,000 training images", "*": 5000},
        "full": {"train_nll": "5,000 training images", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 50},
        "task": {"n_train": 400, "n_valid": 100, "n_test": 200, "n_fit": 200, "n_masks": 4},
    },
    "lite": {
        "train": {"epochs": 20, "batch_size": 50, "validate_every": 2},
        "task": {"n_train": 5000, "n_valid": 1000, "n_test": 5000, "n_masks": 32},
    },
    "full": {"train": {"epochs": 50, "batch_size": 128}},
}


class MasksFashionMNIST(Masks):
    """See the module."""
