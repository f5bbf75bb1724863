"""Sprites: binary images of a square, an ellipse or a heart in five factors, drawn here (:mod:`elboard.tasks.disentanglement.shapes`).

The factors are those of dSprites, the pixels are not: numbers cannot be compared with papers. At lite 32 x 32 pixels and the combinations
of 3 shapes, 6 scales, 20 orientations and 16 x 16 places, of which 20,000 train, 2,000 validate and 10,000 test, no combination twice (a
square that is turned by a right angle has the pixels of another one, as in dSprites). At full 64 x 64 pixels, the 737,280 combinations of
dSprites, of which 200,000 train, and network and length of disentanglement_lib (Locatello et al. 2019): 300,000 steps of 64 images.

At lite beta = 4 puts all codes out in the first steps and, by the seed, leaves them out for one to nine of ten epochs. A weight that rises
from 0 over the first epoch ends that at once and was given up: codes then entangle before it is there, and with five of them the mutual
information gap fell from .20, .24, .22 to .08, .03, .07 (seeds 0 to 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.options import Count
from elboard.tasks.data.task import permutation
from elboard.tasks.disentanglement.base import Disentanglement
from elboard.tasks.disentanglement.shapes import CONTINUOUS, factors_of, render

CARD = TaskCard(
    name="disentanglement/sprites",
    title="Sprites, five factors of variation",
    needs=("GaussianPosterior", "BinaryLikelihood"),
    primary="mig",
    metrics=(
        "mig",
        "dci_disentanglement",
        "dci_completeness",
        "dci_informativeness",
        "sap",
        "factorvae_score",
        "modularity",
        "mig/sampled",
        "mig/given",
        "sap/given",
        "reconstruction",
        "kl",
        "tc",
        "tc/sampled",
        "off_diagonal",
        "units/active",
        "units/mixed",
        "units/passive",
    ),
    selection="mig",
    papers=("046", "064", "065"),
    full="the factors of dSprites in pixels of our own, of which 200,000 train; network and 300,000 steps of Locatello et al. 2019",
    work={"lite": (20_000, 20_000), "full": (200_000, 20_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64},
        "task": {"n_train": 256, "n_valid": 100, "n_test": 200, "sizes": [3, 3, 4, 6, 6], "width": 16, "network": "conv-4-8"},
    },
    "lite": {"train": {"epochs": 10, "batch_size": 64, "validate_every": 5}, "task": {}},
    "full": {
        "train": {"epochs": 96, "batch_size": 64, "validate_every": 4},
        "task": {"n_train": 200_000, "n_valid": 10_000, "sizes": [3, 6, 40, 32, 32], "width": 64, "network": "conv-32-32-64-64"},
    },
}


class Sprites(Disentanglement):
    """See the module."""

    continuous = CONTINUOUS

    @dataclass(kw_only=True)
    class Config(Disentanglement.Config):
        sizes: list[Count] = field(default_factory=lambda: [3, 6, 20, 16, 16])
        width: Count = 32

    def images(self, start: int, n: int) -> tuple[Tensor, np.ndarray]:
        sizes = tuple(self.config.sizes)
        factors = factors_of(permutation(int(np.prod(sizes)), 0)[start : start + n], sizes)
        return torch.from_numpy(render(factors, sizes, self.config.width)).float()[:, None], factors
