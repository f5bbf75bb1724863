"""Minus the log likelihood of a generative model (Bishop 1994), by its bound of ``samples`` draws.

    score(x) = -log 1/k sum_i p(x, z_i) / q(z_i|x)

With one draw it is minus the evidence lower bound. What a model finds likely need not be what it was trained on: images of less detail may
score lower (Nalisnick et al. 2019), so that ranking below chance is a finding and no fault of direction.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.ood.densities import DensityScore

CARD = MethodCard(
    name="likelihood",
    title="Minus the log likelihood of a generative model",
    family="ood",
    home="ood/fashion-mnist-generative",
    cite="Bishop 1994",
    bases={"model": {"method": "bottom-up-hvae"}},
    defaults="convention",
)


class Likelihood(DensityScore):
    """Nothing is learned."""

    def ood_score(self, x: Tensor) -> Tensor:
        return -self.log_p(x)
