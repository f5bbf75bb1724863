"""The linear conditional autoencoder: the more a condition says of what is decoded, the less is left for codes, which collapse sooner.

World r of three has y = R sqrt(spectrum) (sqrt(s_r) x + sqrt(1 - s_r) e), with x and e white and uncorrelated: the covariance of y is the
same in all, that of its residuals given x is (1 - s_r) times as large; x explains the share s = 0, 1/2, 7/8. Mode i collapses where its
residual eigenvalue is at most beta eta^2. Three worlds, five weights and two noises are trained in one run; the protocol is in
:mod:`elboard.tasks.collapse.base`.
"""

from __future__ import annotations

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.kinds.collapse import Setting
from elboard.tasks.collapse.base import SPECTRUM, LinearCollapse, rotation, white

CARD = TaskCard(
    name="collapse/linear-conditional",
    title="Collapse of linear conditional autoencoders, against closed forms",
    needs=("ConditionalCodes",),
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
BETAS, NOISES, EXPLAINED = (0.18, 0.35, 0.7, 1.4, 2.8), (0.5, 1.0), (0.0, 0.5, 0.875)  # shares of the variance


class LinearConditional(LinearCollapse):
    """See the module."""

    condition = len(SPECTRUM)

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        worlds = range(len(EXPLAINED))
        return tuple(Setting(beta=beta, noise=noise, world=world) for world in worlds for noise in NOISES for beta in BETAS)

    def theta2(self) -> np.ndarray:
        return np.array([[(1 - share) * value for value in SPECTRUM] for share in EXPLAINED])

    def vectors(self, seed: int) -> dict[str, np.ndarray]:
        d = len(SPECTRUM)
        x, e = np.split(white(self.config.n, 2 * d, seed), 2, axis=1)
        mixed = np.stack([np.sqrt(share) * x + np.sqrt(1 - share) * e for share in EXPLAINED], axis=1)
        return {"x": x, "y": mixed * np.sqrt(SPECTRUM) @ rotation(d)}
