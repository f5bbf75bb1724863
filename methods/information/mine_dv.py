"""Mutual information neural estimation, MINE (Belghazi et al. 2018), by the bound of Donsker and Varadhan 1983.

    I(X; Y) >= E_P T - log E_Q e^T,     with equality at T = log dP/dQ + c

The gradient of the second term, E_Q[e^T dT] / E_Q[e^T], is biased where a batch is in the denominator too. There stands a moving average
over batches instead, Z <- ``average`` Z + (1 - ``average``) E_Q e^T, which begins with the first batch's and counts as a constant; with
``average=0`` the gradient is that of the bound.

Differences from the paper: those of :mod:`elboard.methods.information.base`; the average, of 0.9, is of all weights that it has had so far,
without the start at 1 of the comparison's code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.information import PairsSpec
from elboard.bench.method import Bases
from elboard.bench.options import Range
from elboard.bench.task import Batch
from elboard.methods.information.base import VariationalEstimator, apart, donsker_varadhan, joint_mean, log_mean_exp

CARD = MethodCard(
    name="mine-dv",
    title="Mutual information neural estimation",
    family="information",
    home="mi/gaussian",
    cite="Belghazi et al. 2018",
    defaults="paper",
)


class MINE(VariationalEstimator):
    """See the module.

    Attributes:
        partition: log of the average before it is divided by the sum of its weights, ``(L,)``. seen: batches so far.
    """

    @dataclass(kw_only=True)
    class Config(VariationalEstimator.Config):
        average: Annotated[float, Range(0, below=1)] = 0.9

    def __init__(self, config: Any, spec: PairsSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("partition", torch.full((spec.laws,), -math.inf))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        """Take the coming batch into the average, whose gradient it is then divided by."""
        super().on_train_batch_start(batch, batch_idx)
        self.partition.copy_(self.averaged(log_mean_exp(apart(self.critics(batch["x"], batch["y"])))))
        self.seen += 1

    def averaged(self, now: Tensor) -> Tensor:
        """``partition`` after a batch whose log E_Q e^T is ``now`` (L,)."""
        old = self.config.average
        return torch.logaddexp(self.partition + math.log(old), now + math.log1p(-old)) if old else now

    def objective(self, scores: Tensor) -> Tensor:
        """A function with the gradient that is wanted, which is the bound's own before any step."""
        now = log_mean_exp(apart(scores))
        weights = 1 - self.config.average ** self.seen.clamp(min=1)
        past = torch.where(self.seen > 0, self.partition - torch.log(weights), now.detach())
        return joint_mean(scores) - (now - past).exp()

    def value(self, scores: Tensor) -> Tensor:
        return donsker_varadhan(scores)
