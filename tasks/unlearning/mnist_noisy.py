"""MNIST with 5 % of the training labels wrong, which are found out and to be forgotten (noisy-label removal of Shen et al. 2024).

The wrong ones are a tenth of the digits 0 to 4, each given another digit at random, all alike; the card of the paper says that labels 0 to
4 are partly flipped, and how was not verified. Accuracy on what is to be forgotten is by the wrong labels: what the model has learned by
heart. No class is forgotten. At lite 3,000 images are seen for 30 epochs: of 10,000 in 10 epochs 3 % of the wrong labels were learned by
heart, which leaves nothing to forget, of these 73 % (seed 1000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.options import Range
from elboard.tasks.unlearning.base import CLASSES, Forgetting

CARD = TaskCard(
    name="unlearning/mnist-noisy",
    title="MNIST, forgetting wrong labels",
    needs=("Unlearner",),
    primary="retrain_gap",
    metrics=(
        "retrain_gap",
        "remaining_accuracy/train",
        "remaining_accuracy/test",
        "forget_accuracy/train",
        "attack_success",
        "retrain_gap/attack",
    ),
    selection="retrain_gap",
    data=("mnist",),
    papers=("027",),
    full="all of MNIST but 5,000 validation images, for the 20 epochs of Shen et al. 2024",
    work={"lite": (3000, 26_000), "full": (55_000, 130_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 32},
        "task": {"n_train": 300, "n_valid": 100, "n_test": 200, "n_attack": 100, "rate": 0.2},
    },
    "lite": {"train": {"epochs": 30, "batch_size": 64, "validate_every": 10}, "task": {"n_train": 3000}},
    "full": {"train": {"epochs": 20, "batch_size": 64, "validate_every": 5}, "task": {"n_train": 0, "n_valid": 5000}},
}
CORRUPTION_SEED = 2027


class MNISTNoisy(Forgetting):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Forgetting.Config):
        rate: Annotated[float, Range(0, below=0.5)] = 0.05  # of all training labels that are wrong

    def given(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``RandomState``, whose stream is frozen over NumPy's versions."""
        random = np.random.RandomState(CORRUPTION_SEED)
        few = random.permutation(np.flatnonzero(y < 5))[: round(self.config.rate * len(y))]
        labels = y.copy()
        labels[few] = (y[few] + random.randint(1, CLASSES, len(few))) % CLASSES
        return labels, labels != y
