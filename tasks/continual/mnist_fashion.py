"""MNIST, then Fashion-MNIST: two tasks of different images and ten labels each, with one head.

Output c is the digit c, and then the c-th kind of clothing. At smoke the second task's digits are upside down, and labels moved by one.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.continual.base import Labelled, Sequence
from elboard.tasks.data import loaders

CARD = TaskCard(
    name="continual/mnist-fashion",
    title="MNIST, then Fashion-MNIST, with one head",
    needs=("ContinualLearner",),
    primary="average_accuracy",
    metrics=("average_accuracy", "learned_accuracy", "forgetting", "backward_transfer"),
    selection="average_accuracy",
    data=("mnist", "fashion-mnist"),
    papers=("059",),
    full="all images of both at 28x28 for 40 epochs each, as long as Li et al. 2023; their network for this pair is not known",
    work={"lite": (6000, 16_000), "full": (55_000, 160_000)},
    examples={"smoke": {"*": "150 of each task"}, "lite": {"*": "1,000 of each task"}, "full": {"*": "10,000 of each task"}},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 4, "batch_size": 50, "validate_every": 2, "keep": "last"},
        "task": {"n_train": 300, "n_valid": 100, "n_test": 150, "shrink": 4, "hidden": [32, 32], "n_samples": 2},
    },
    "lite": {"train": {"epochs": 16, "batch_size": 64, "validate_every": 8, "keep": "last"}, "task": {"n_valid": 1000}},
    "full": {
        "train": {"epochs": 80, "batch_size": 64, "validate_every": 40, "keep": "last"},
        "task": {"n_train": 55_000, "n_valid": 5000, "n_test": 10_000, "shrink": 1, "hidden": [512, 512]},
    },
}


class MNISTFashion(Sequence):
    """See the module."""

    tasks = 2

    def of_task(self, task: int, split: str) -> Labelled:
        x, y = self.read((loaders.mnist, loaders.fashion_mnist)[task], split)
        return (x[:, ::-1], (y + 1) % 10) if self.budget == "smoke" and task else (x, y)
