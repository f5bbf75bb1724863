"""MNIST as in noisy/mnist-sym50, with four draws of the noise, each with half of the labels wrong in expectation.

4,000 training, 1,000 validation and 10,000 test images at lite.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.noisy.mnist_sym50 import MNISTSym50
from elboard.tasks.noisy.redrawn import Redrawn

CARD = TaskCard(
    name="noisy/mnist-redrawn",
    title="MNIST, four draws of 50 % wrong labels",
    needs=("NoiseDraws",),
    primary="draw_brier",
    metrics=("draw_brier", "draw_variance", "draw_bias", "accuracy"),
    selection="accuracy",
    data=("mnist",),
    papers=("013",),
    full="all of MNIST but 5,000 validation images, 200 epochs; no paper's own setting",
    work={"lite": (4000, 40_000), "full": (55_000, 40_000)},
    examples={"smoke": {"*": 497}, "lite": {"*": 10_000}, "full": {"*": 10_000}},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128}},
    "lite": {"train": {"epochs": 30, "batch_size": 128, "validate_every": 10}, "task": {"n_train": 4000, "n_valid": 1000}},
    "full": {"train": {"epochs": 200, "batch_size": 128, "validate_every": 10}, "task": {"n_valid": 5000}},
}


class MNISTRedrawn(Redrawn):
    noise_rate, transition = MNISTSym50.noise_rate, MNISTSym50.transition
    read = MNISTSym50.read
