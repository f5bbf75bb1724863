"""Split MNIST: five tasks of two digits, 0 and 1 first, 8 and 9 last (Zenke, Poole and Ganguli 2017).

The question of each task is the same, whether the digit is the first of its pair: two outputs for all, and nothing says of which pair an
image is (the scenario "domain" of van de Ven and Tolias 2019). What was right of one pair is arbitrary for the others, so that features
must be kept. Within a task both digits are as frequent as in MNIST.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.tasks.continual.base import Labelled, Sequence
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="continual/split-mnist",
    title="MNIST in five tasks of two digits, with one head",
    needs=("ContinualLearner",),
    primary="average_accuracy",
    metrics=("average_accuracy", "learned_accuracy", "forgetting", "backward_transfer"),
    selection="average_accuracy",
    data=("mnist",),
    papers=("059",),
    full="10,000 images of each pair at 28x28 for 5 epochs; no paper's own setting",
    work={"lite": (6000, 88_000), "full": (10_000, 176_000)},
    examples={"smoke": {"*": "30 of each task"}, "lite": {"*": "880 of each task"}, "full": {"*": "1,760 of each task"}},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 10, "batch_size": 50, "validate_every": 2, "keep": "last"},
        "task": {"n_train": 150, "n_valid": 30, "n_test": 30, "shrink": 4, "hidden": [32, 32], "n_samples": 2},
    },
    "lite": {"train": {"epochs": 15, "batch_size": 64, "validate_every": 3, "keep": "last"}, "task": {"n_test": 880}},
    "full": {
        "train": {"epochs": 25, "batch_size": 64, "validate_every": 5, "keep": "last"},
        "task": {"n_train": 10_000, "n_test": 1760, "shrink": 1, "hidden": [512, 512]},
    },
}


class SplitMNIST(Sequence):
    """See the module."""

    classes = 2
    tasks = 5

    def of_task(self, task: int, split: str) -> Labelled:
        x, y = self.read(loaders.mnist, split)
        mine = np.flatnonzero(y // 2 == task)
        return x[mine], y[mine] % 2
