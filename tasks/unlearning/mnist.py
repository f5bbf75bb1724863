"""MNIST, of which a class is to be forgotten: the zeros, all of them (class removal of Shen et al. 2024, there of CIFAR-10).

What is left of a class shows on test images too: ``forget_accuracy/test`` is of the zeros there, ``remaining_accuracy/test`` of the other
digits. The retrained model never says zero, so that it is at 0 by either accuracy.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.unlearning.base import Forgetting

CARD = TaskCard(
    name="unlearning/mnist",
    title="MNIST, forgetting a class",
    needs=("Unlearner",),
    primary="retrain_gap",
    metrics=(
        "retrain_gap",
        "remaining_accuracy/train",
        "remaining_accuracy/test",
        "forget_accuracy/train",
        "forget_accuracy/test",
        "attack_success",
        "retrain_gap/attack",
    ),
    selection="retrain_gap",
    data=("mnist",),
    papers=("027",),
    full="all of MNIST but 5,000 validation images, for the 20 epochs of Shen et al. 2024",
    work={"lite": (10_000, 40_000), "full": (55_000, 130_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 300, "n_valid": 100, "n_test": 200, "n_attack": 100}},
    "lite": {"train": {"epochs": 5, "batch_size": 64, "validate_every": 5}, "task": {}},
    "full": {"train": {"epochs": 20, "batch_size": 64, "validate_every": 5}, "task": {"n_train": 0, "n_valid": 5000}},
}


class MNISTClass(Forgetting):
    """See the module."""

    forgotten = (0,)

    def given(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return y, np.isin(y, self.forgotten)
