"""The 8x8 digits of scikit-learn with 40 % of the training labels wrong: needs no download at any budget.

Symmetric noise of rate 0.4 towards the nine other digits: 40 % of the labels are wrong in expectation. 1,000 training, 300 validation and
497 test images, a fixed random split. With so few test images a difference of two accuracies has a standard error of about 0.02.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.noisy.base import Labelled, NoisyLabels, split_digits, symmetric

CARD = TaskCard(
    name="noisy/digits-sym40",
    title="Digits 8x8, 40 % of the labels wrong at random",
    needs=("Classifier",),
    primary="accuracy_last10",
    metrics=("accuracy_last10", "accuracy_last", "accuracy_best", "accuracy_peak", "memorised", "label_precision", "class_nll", "ece"),
    selection="accuracy",
    data=("digits",),
    papers=("013", "096"),
    full="the data of lite for 200 instead of 60 epochs; no paper's own setting",
    work={"lite": (1000, 11_976), "full": (1000, 11_976)},
    examples={
        "smoke": {"memorised": "256 training images", "label_precision": "256 training images", "accuracy_*": 497, "*": 497},
        "lite": {"memorised": "1,000 training images", "label_precision": "1,000 training images", "accuracy_*": 497, "*": 497},
        "full": {"memorised": "1,000 training images", "label_precision": "1,000 training images", "accuracy_*": 497, "*": 497},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 10, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128}},
    "lite": {"train": {"epochs": 60, "batch_size": 32}, "task": {"n_valid": 300}},
    "full": {"train": {"epochs": 200, "batch_size": 32}, "task": {"n_valid": 300}},
}


class DigitsSym40(NoisyLabels):
    shape = (1, 8, 8)
    levels = 16
    noise_rate = 0.4
    transition = symmetric(10, noise_rate)

    def read(self, split: str) -> Labelled:
        return split_digits(split)

    stand_in = read
