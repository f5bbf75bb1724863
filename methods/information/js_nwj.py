"""A critic trained as a classifier of pairs, reported by the bound of Nguyen, Wainwright and Jordan (Poole et al. 2019, "JS").

    trained by    J = E_P[-softplus(-T)] - E_Q[softplus(T)],     greatest at T = log dP/dQ
    reported as   1 + E_P T - E_Q e^T

Training has no partition function in it and is stable, the estimate has that of NWJ.

Differences from the paper: those of :mod:`elboard.methods.information.base`.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.information.base import VariationalEstimator, jensen_shannon, nguyen_wainwright_jordan

CARD = MethodCard(
    name="js-nwj",
    title="Classifier of pairs with the bound of Nguyen, Wainwright and Jordan",
    family="information",
    home="mi/gaussian",
    cite="Poole, Ozair, van den Oord, Alemi and Tucker 2019",
    defaults="paper",
)


class JSNWJ(VariationalEstimator):
    """See the module."""

    def objective(self, scores: Tensor) -> Tensor:
        return jensen_shannon(scores)

    def value(self, scores: Tensor) -> Tensor:
        return nguyen_wainwright_jordan(scores)
