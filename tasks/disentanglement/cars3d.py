"""Cars3D (Reed et al. 2015): rendered cars from 4 elevations and 24 azimuths, in colour.

61 of the 183 cars; three factors, of which elevation is continuous, azimuth a circle and the car a name. Pixels are Bernoulli with the grey
level as probability, as in disentanglement_lib (Locatello et al. 2019), so that the terms of the bound are cross-entropies. At lite 32 x 32
pixels (2 x 2 means). Of the 5,856 images 1,500 test and 500 validate, all cars and directions among the others: unlike in the papers no
image is scored that was learned from, and the information about 61 cars is biased upwards by the few images of each, for all methods alike.

At smoke sprites in three colours stand in for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.options import Count
from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation
from elboard.tasks.disentanglement.base import Disentanglement
from elboard.tasks.disentanglement.shapes import factors_of, render

CARD = TaskCard(
    name="disentanglement/cars3d",
    title="Cars3D, three factors of variation",
    needs=("GaussianPosterior", "BinaryLikelihood"),
    primary="mig",
    metrics=("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "sap", "factorvae_score", "reconstruction", "kl"),
    selection="mig",
    data=("cars3d",),
    full="61 of the 183 cars at 64 x 64 pixels, of which 3,856 images train; network and 300,000 steps of Locatello et al. 2019",
    work={"lite": (3856, 3000), "full": (3856, 3000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64},
        "task": {"n_train": 256, "n_valid": 60, "n_test": 120, "width": 16, "network": "conv-4-8"},
    },
    "lite": {"train": {"epochs": 50, "batch_size": 64, "validate_every": 10}, "task": {}},
    "full": {
        "train": {"epochs": 4918, "batch_size": 64, "validate_every": 82},
        "task": {"width": 64, "network": "conv-32-32-64-64"},
    },
}
SIZES = (4, 24, 61)
STAND_IN = (3, 3, 4, 6, 6)


class Cars3D(Disentanglement):
    """See the module."""

    continuous = (True, False, False)

    @dataclass(kw_only=True)
    class Config(Disentanglement.Config):
        n_train: int = 3856
        n_valid: int = 500
        n_test: int = 1500
        width: Count = 32

    def images(self, start: int, n: int) -> tuple[Tensor, np.ndarray]:
        if self.budget == "smoke":
            return self._stand_in(start, n)
        if 64 % self.config.width:
            raise UserError(f"width={self.config.width} does not divide 64, the width of the images")
        factors = factors_of(permutation(int(np.prod(SIZES)), 0)[start : start + n], SIZES)
        elevation, azimuth, car = factors.T
        x = images(loaders.cars3d()[car, elevation, azimuth])
        return torch.nn.functional.avg_pool2d(x, 64 // self.config.width), factors

    def _stand_in(self, start: int, n: int) -> tuple[Tensor, np.ndarray]:
        """Sprites of any scale and orientation; shapes have colours of their own, x, y and shape are the factors."""
        factors = factors_of(permutation(int(np.prod(STAND_IN)), 0)[start : start + n], STAND_IN)
        x = torch.from_numpy(render(factors, STAND_IN, self.config.width)).float()[:, None]
        colour = 0.3 + 0.7 * torch.eye(3)[torch.from_numpy(factors[:, 0])]
        return x * colour[:, :, None, None], factors[:, [3, 4, 0]]
