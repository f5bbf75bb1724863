"""Variational self-supervised learning with Gaussian posteriors (Yavuz and Yanikoglu 2025).

    term = (1/d) sum_j [ (mu_t - mu_s)_j^2 / (2 s_j) + log(s_j) / 2 + weight KL(N(mu_s, s) || N(mu_t, t))_j ]

s and t are the variances of student and teacher in each dimension.

Differences from the paper: see :mod:`elboard.methods.selfsup.variational`, for the terms and for what is not the paper's own. Means are
batch-normalised without scale and shift: else the likelihood with a variance that is learned is largest for means that shrink.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.selfsup.base import Seen
from elboard.methods.selfsup.variational import VSSL, divergence, likelihood

CARD = MethodCard(
    name="vssl-gaussian",
    title="Variational self-supervised learning, Gaussian",
    family="selfsup",
    home="selfsup/fashion-mnist",
    paper="022",
    cite="Yavuz and Yanikoglu 2025",
    defaults="convention",
)


class GaussianVSSL(VSSL):
    """One variance for each dimension."""

    def term(self, seen: Seen, target: Seen) -> Tensor:
        squared = (seen.prediction - target.embedding) ** 2
        terms = likelihood(self.config.likelihood, squared, seen.spread, target.spread)
        return (terms + self.config.weight * divergence(squared, seen.spread, target.spread)).mean()
