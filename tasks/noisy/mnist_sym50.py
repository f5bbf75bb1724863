"""MNIST with half of the training labels wrong.

Symmetric noise of rate 0.5: each label is replaced with probability 0.5 by one of the nine other digits, all alike, so that half of the
labels are wrong in expectation and the true digit is still the most frequent one (0.5 against 0.056 each). This is the "symmetry-50%" of
Han et al. 2018, table 4. The primary metric is theirs too: the mean test accuracy of the last ten epochs, which says what remains after
memorisation without depending on the fluctuation of a single epoch. The full budget has that paper's 200 epochs.

The lite budget takes few images and many epochs, so that memorisation, which needs passes over the data, happens within a minute.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.data.loaders import mnist
from elboard.tasks.noisy.base import Labelled, NoisyLabels, symmetric

CARD = TaskCard(
    name="noisy/mnist-sym50",
    title="MNIST, 50 % of the labels wrong at random",
    needs=("Classifier",),
    primary="accuracy_last10",
    metrics=("accuracy_last10", "accuracy_last", "accuracy_best", "accuracy_peak", "memorised", "label_precision", "class_nll", "ece"),
    selection="accuracy",
    data=("mnist",),
    papers=("013", "096"),
    full="the data, noise and 200 epochs of Han et al. 2018, but for 5,000 validation images",
    work={"lite": (4000, 112_000), "full": (55_000, 520_000)},
    examples={
        "smoke": {"memorised": "256 training images", "label_precision": "256 training images", "accuracy_*": 497, "*": 497},
        "lite": {"memorised": "4,000 training images", "label_precision": "4,000 training images", "accuracy_*": 2000, "*": 10_000},
        "full": {"memorised": "55,000 training images", "label_precision": "55,000 training images", "accuracy_*": 10_000, "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128}},
    "lite": {"train": {"epochs": 30, "batch_size": 128}, "task": {"n_train": 4000, "n_valid": 1000, "n_track": 2000}},
    "full": {"train": {"epochs": 200, "batch_size": 128}, "task": {"n_valid": 5000}},
}


class MNISTSym50(NoisyLabels):
    noise_rate = 0.5
    transition = symmetric(10, noise_rate)

    def read(self, split: str) -> Labelled:
        return mnist(split)
