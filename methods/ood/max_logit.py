"""Maximum logit (Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song 2022).

    score(x) = - max_c l_c,   l = W z + b,   z = f(x)

Unlike the largest probability it is not spread thin where several classes are alike, and it keeps the logits' common level. It is the limit
of the energy score at temperature 0.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="max-logit",
    title="Maximum logit",
    family="ood",
    home="ood/digits",
    cite="Hendrycks et al. 2022",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)


class MaxLogit(PostHoc):
    """Nothing is learned."""

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        return -logits.max(1).values
