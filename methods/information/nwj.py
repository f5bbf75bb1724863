"""The bound of Nguyen, Wainwright and Jordan 2010 (f-GAN's of KL; MINE-f).

    I(X; Y) >= 1 + E_P T - E_Q e^T,     with equality at T = log dP/dQ

The estimate is linear in expectations, so that it has no bias beyond that of the critic, but the variance of E_Q e^T from n pairs is at
least (e^I - 1)/n there (Song and Ermon 2020, theorem 2).

Differences from the paper: those of :mod:`elboard.methods.information.base`; the critic is T, while the authors of the comparison train
T + 1, the same up to a constant.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.information.base import VariationalEstimator, nguyen_wainwright_jordan

CARD = MethodCard(
    name="nwj",
    title="Bound of Nguyen, Wainwright and Jordan",
    family="information",
    home="mi/gaussian",
    cite="Nguyen, Wainwright and Jordan 2010",
    defaults="paper",
)


class NWJ(VariationalEstimator):
    """See the module."""

    def value(self, scores: Tensor) -> Tensor:
        return nguyen_wainwright_jordan(scores)
