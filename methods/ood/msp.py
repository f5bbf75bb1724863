"""Maximum softmax probability (Hendrycks and Gimpel 2017).

    score(x) = 1 - max_c softmax(W z + b)_c,   z = f(x)

The same numbers as the classifier's own score. In float32 the scores of images with a probability within 3e-8 of one are equal; ties
count half.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="msp",
    title="Maximum softmax probability",
    family="ood",
    home="ood/digits",
    cite="Hendrycks and Gimpel 2017",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)


class MSP(PostHoc):
    """Nothing is learned."""

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        return 1 - logits.softmax(1).max(1).values
