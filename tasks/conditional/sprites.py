"""Pictures of one shape given six binary attributes (:mod:`elboard.tasks.data.attributes`), 32 x 32 binary pixels drawn here.

13 of the 64 combinations of attributes are in no training, validation or test image; ``/unseen`` asks for samples with these. Chance is a
control accuracy of 0.5. All budgets draw their pictures; splits come from random streams of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.tasks.conditional.base import Conditional
from elboard.tasks.data.attributes import draw, every
from elboard.tasks.data.task import permutation

CARD = TaskCard(
    name="conditional/sprites",
    title="Shapes given six binary attributes",
    needs=("ConditionalGenerator", "ConditionalLikelihood"),
    primary="control_accuracy",
    metrics=(
        "control_accuracy",
        "control_exact",
        "control_accuracy/unseen",
        "control_exact/unseen",
        "fd",
        "kid",
        "gen_precision",
        "gen_recall",
        "diversity",
        "reconstruction",
        "kl",
        "elbo",
    ),
    selection="control_accuracy[sprites-cnn]",
    papers=("073",),
    full="100,000 pictures for 100 epochs; no paper's own setting",
    work={"lite": (10_000, 4500), "full": (100_000, 20_500)},
    examples={
        "smoke": {"*/unseen": 100, "*": 200},
        "lite": {"*/unseen": 500, "*": 2000},
        "full": {"*/unseen": 500, "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100},
        "task": {"n_train": 300, "n_valid": 100, "n_test": 200, "n_unseen": 100, "network": "conv-4-8"},
    },
    "lite": {"train": {"epochs": 12, "batch_size": 100, "validate_every": 6}, "task": {"n_train": 10_000}},
    "full": {
        "train": {"epochs": 100, "batch_size": 100, "validate_every": 10},
        "task": {"n_train": 100_000, "n_test": 10_000, "network": "conv-32-64-128"},
    },
}
HELD_OUT = 13
STREAMS = {"train": 1, "valid": 2, "test": 3}


class ConditionalSprites(Conditional):
    """See the module."""

    attributes = (2,) * 6
    classifier = "sprites-cnn"
    pixels = "binary"

    @dataclass(kw_only=True)
    class Config(Conditional.Config):
        network: str = "conv-8-16-32"

    def examples(self, split: str, n: int) -> tuple[Tensor, np.ndarray]:
        rng, combinations = np.random.default_rng(STREAMS[split]), every()[permutation(64, 0)[HELD_OUT:]]
        y = combinations[rng.integers(len(combinations), size=n)]
        return torch.from_numpy(draw(y, rng)).float()[:, None], y

    def unseen(self) -> np.ndarray:
        return every()[permutation(64, 0)[:HELD_OUT]]
