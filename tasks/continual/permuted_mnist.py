"""Permuted MNIST: MNIST with its pixels in another order in each task (Goodfellow et al. 2014, Kirkpatrick et al. 2017).

The first task is MNIST as it is; the permutations of the others belong to the task and are the same for all seeds. All tasks have the same
images and labels, and one head of ten outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.options import Range
from elboard.tasks.continual.base import Labelled, Sequence
from elboard.tasks.data import loaders
from elboard.tasks.data.task import permutation

CARD = TaskCard(
    name="continual/permuted-mnist",
    title="MNIST under five orders of its pixels, with one head",
    needs=("ContinualLearner",),
    primary="average_accuracy",
    metrics=("average_accuracy", "learned_accuracy", "forgetting", "backward_transfer"),
    selection="average_accuracy",
    data=("mnist",),
    papers=("059",),
    full="five tasks of 32,000 images at 28x28 for 5 epochs each, as Li et al. 2023",
    work={"lite": (6000, 100_000), "full": (32_000, 1_000_000)},
    examples={"smoke": {"*": "150 of each task"}, "lite": {"*": "1,000 of each task"}, "full": {"*": "10,000 of each task"}},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 4, "batch_size": 50, "validate_every": 2, "keep": "last"},
        "task": {"orders": 2, "n_train": 300, "n_valid": 100, "n_test": 150, "shrink": 4, "hidden": [32, 32], "n_samples": 2},
    },
    "lite": {"train": {"epochs": 15, "batch_size": 64, "validate_every": 3, "keep": "last"}},
    "full": {
        "train": {"epochs": 25, "batch_size": 64, "validate_every": 5, "keep": "last"},
        "task": {"n_train": 32_000, "n_valid": 5000, "n_test": 10_000, "shrink": 1, "hidden": [512, 512]},
    },
}
ORDER_SEED = 59


class PermutedMNIST(Sequence):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Sequence.Config):
        orders: Annotated[int, Range(2, 100)] = 5  # tasks

    @property
    def tasks(self) -> int:
        return self.config.orders

    def of_task(self, task: int, split: str) -> Labelled:
        return self.read(loaders.mnist, split)

    def turned(self, task: int, x: Tensor) -> Tensor:
        if task == 0:
            return x
        flat = x.flatten(1)
        return flat[:, torch.from_numpy(permutation(flat.shape[1], ORDER_SEED + task))].view_as(x)
