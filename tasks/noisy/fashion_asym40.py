"""Fashion-MNIST with asymmetric noise of rate 0.4 between classes that look alike.

The flips of Zhang and Sabuncu 2018 (Generalized cross entropy loss, section 4): ankle boot -> sneaker, sneaker -> sandal,
pullover -> shirt, coat <-> dress, each with probability 0.4; the five other classes keep their labels. So 20 % of all labels are wrong in
expectation, but two in five in each class of the flips. The full budget has that paper's 120 epochs.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.data.loaders import fashion_mnist
from elboard.tasks.noisy.base import Labelled, NoisyLabels, asymmetric

CARD = TaskCard(
    name="noisy/fashion-asym40",
    title="Fashion-MNIST, 40 % of the labels of five classes flipped to a similar class",
    needs=("Classifier",),
    primary="accuracy_last10",
    metrics=("accuracy_last10", "accuracy_last", "accuracy_best", "accuracy_peak", "memorised", "label_precision", "class_nll", "ece"),
    selection="accuracy",
    data=("fashion-mnist",),
    papers=("013", "096"),
    full="the data, flips and 120 epochs of Zhang and Sabuncu 2018, but for 5,000 validation images",
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
    "full": {"train": {"epochs": 120, "batch_size": 128}, "task": {"n_valid": 5000}},
}
DRESS, PULLOVER, COAT, SANDAL, SHIRT, SNEAKER, BOOT = 3, 2, 4, 5, 6, 7, 9


class FashionAsym40(NoisyLabels):
    noise_rate = 0.2  # two in five of half the images
    transition = asymmetric(10, 0.4, {BOOT: SNEAKER, SNEAKER: SANDAL, PULLOVER: SHIRT, COAT: DRESS, DRESS: COAT})

    def read(self, split: str) -> Labelled:
        return fashion_mnist(split)
