"""The linear hierarchical autoencoder with two levels of codes, z_2 above z_1: whether the upper level collapses.

With both encoder variances learned the upper level collapses whatever the data, if its KL term weighs more than the lower one's (with the
same weight the optimum is not unique, with a smaller one not finite, so that the grid has neither). With the lower variance sigma_1^2 held
fixed a mode keeps both levels where theta^2 >= max(top^2 eta^4 / (beta sigma_1^2), top eta^2). Twelve settings are trained in one run; the
protocol is in :mod:`elboard.tasks.collapse.base`.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.kinds.collapse import Setting
from elboard.bench.metrics import collapse
from elboard.tasks.collapse.base import SPECTRUM, LinearCollapse, rotation, white

CARD = TaskCard(
    name="collapse/linear-hierarchical",
    title="Collapse of linear hierarchical autoencoders, against closed forms",
    needs=("HierarchicalCodes",),
    primary="collapse_gap",
    metrics=("collapse_gap", "collapse_gap/level2", "active_units/level2", "singular_gap", "share_gap"),
    selection="collapse_gap",
    papers=("004",),
    full="ten times the examples of lite, for 200 instead of 40 epochs; no paper's own setting",
    work={"lite": (500, 500), "full": (5000, 5000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "validate_every": 1}, "task": {"n": 50}},
    "lite": {"train": {"epochs": 40, "validate_every": 10}},
    "full": {"train": {"epochs": 200, "validate_every": 50}, "task": {"n": 5000}},
}
GRID = {  # noise: (beta, top)
    0.5: ((0.35, 1.0), (0.35, 2.0), (0.35, 4.0), (0.7, 2.0), (0.8, 1.4), (1.4, 4.0)),
    0.7: ((0.35, 0.7), (0.7, 1.0), (0.7, 2.0), (1.4, 2.0), (1.4, 4.0), (2.8, 4.0)),
}


class LinearHierarchical(LinearCollapse):
    """See the module."""

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        return tuple(Setting(beta=beta, top=top, noise=noise) for noise, weights in GRID.items() for beta, top in weights)

    @staticmethod
    def optimum(theta2: np.ndarray, setting: Setting, held: tuple[float, ...]) -> list[collapse.Modes]:
        return collapse.two_levels(theta2, setting.beta, setting.top, setting.noise, held[0])

    def vectors(self, seed: int) -> dict[str, np.ndarray]:
        y = white(self.config.n, len(SPECTRUM), seed) * np.sqrt(SPECTRUM) @ rotation(len(SPECTRUM))
        return {"y": y[:, None]}
