"""The linear autoencoder of Gaussian vectors of 6 dimensions: mode i collapses where its eigenvalue is at most beta eta^2.

Ten weights of the KL term and two noises of the decoder are trained in one run. The protocol is in :mod:`elboard.tasks.collapse.base`.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.kinds.collapse import Setting
from elboard.tasks.collapse.base import SPECTRUM, LinearCollapse, rotation, white

CARD = TaskCard(
    name="collapse/linear",
    title="Collapse of linear autoencoders, against closed forms",
    needs=("VanillaCodes",),
    primary="collapse_gap",
    metrics=("collapse_gap", "singular_gap", "share_gap"),
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
BETAS, NOISES = (0.09, 0.18, 0.35, 0.7, 1.4, 2.8, 5.6, 11.0, 22.0, 44.0), (0.5, 1.0)


class Linear(LinearCollapse):
    """See the module."""

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        return tuple(Setting(beta=beta, noise=noise) for noise in NOISES for beta in BETAS)

    def vectors(self, seed: int) -> dict[str, np.ndarray]:
        y = white(self.config.n, len(SPECTRUM), seed) * np.sqrt(SPECTRUM) @ rotation(len(SPECTRUM))
        return {"y": y[:, None]}
