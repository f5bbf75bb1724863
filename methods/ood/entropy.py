"""Entropy of the predictive distribution, in nats.

    score(x) = - sum_c p_c log p_c,   p = softmax(W z + b),   z = f(x)

Between 0, one class for certain, and log C, all alike. The textbook measure of a classifier's uncertainty; as a score of OOD pixels: Chan,
Rottmann and Gottschalk 2021. Differences from the latter: without its training that raises the entropy of OOD data. Of confident images it
tells apart those whose largest probability is 1 in float32, since their small probabilities are not 0.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="entropy",
    title="Predictive entropy",
    family="ood",
    home="ood/digits",
    cite="textbook; score: Chan, Rottmann and Gottschalk 2021",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)


class Entropy(PostHoc):
    """Nothing is learned."""

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(1)
        return -(log_p.exp() * log_p).sum(1)
