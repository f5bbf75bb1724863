"""InfoNCE, of contrastive predictive coding (van den Oord, Li and Vinyals 2018).

    I(X; Y) >= (1/B) sum_i [ f_ii - log (1/B) sum_j e^{f_ij} ]  <=  log B

The sum holds the pair itself, so that the bound cannot exceed log B, whatever the critic: of batches of 64 that is 4.16 nats. Any c(x) may
be added to the critic.

Differences from the paper: those of :mod:`elboard.methods.information.base`.
"""

from __future__ import annotations

import math

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.information.base import VariationalEstimator, joint_mean

CARD = MethodCard(
    name="infonce",
    title="InfoNCE",
    family="information",
    home="mi/gaussian",
    cite="van den Oord, Li and Vinyals 2018",
    aliases=("cpc",),
    defaults="paper",
)


class InfoNCE(VariationalEstimator):
    """See the module."""

    def value(self, scores: Tensor) -> Tensor:
        return joint_mean(scores) - scores.logsumexp(-1).mean(-1) + math.log(scores.shape[-1])
