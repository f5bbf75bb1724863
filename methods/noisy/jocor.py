"""Joint training with co-regularisation (Wei, Feng, Chen and An 2020, algorithm 1).

Two networks see every batch and are updated together on the same examples, those of smallest joint loss,

    l(x, y) = (1 - lambda) (CE(p_1, y) + CE(p_2, y)) + lambda (KL(p_1 || p_2) + KL(p_2 || p_1)),               (equations 1 to 4)
    B~ = argmin_{|B'| = R(t)|B|} sum_{i in B'} l_i,   R(t) = 1 - tau min(t / T_k, 1),
    w_1, w_2 <- step on (1 / |B~|) sum_{i in B~} l_i,

because networks of different weights agree on most clean examples and seldom on wrong ones, and agreement keeps both from fitting these.

lambda = 0.9 is what the authors found best on CIFAR-10 with up to half of the labels wrong (0.65 with 80 %; their repository). tau is the
rate of wrong labels, which comes with the data as in co-teaching, with the same ramp.

Differences from the paper: the shared backbone and Adam at a constant rate (which decays there in the second part of training); T_k is a
share of training; the number selected is rounded, not cut off. A single network predicts (the first one); ``ensemble=true`` averages both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Share
from elboard.bench.task import Batch
from elboard.methods.noisy.base import small_loss
from elboard.methods.noisy.co_teaching import CoTeaching

CARD = MethodCard(
    name="jocor",
    title="Joint training of two networks with co-regularisation",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Wei et al. 2020",
    defaults="paper",
)


class JoCoR(CoTeaching):
    @dataclass(kw_only=True)
    class Config(CoTeaching.Config):
        lambda_: Share = 0.9  # weight of agreement

    def joint(self, first: Tensor, second: Tensor, y: Tensor) -> Tensor:
        """Losses l ``(B,)`` of the logits of both networks ``(B, C)``."""
        supervised = F.cross_entropy(first, y, reduction="none") + F.cross_entropy(second, y, reduction="none")
        a, b = first.log_softmax(1), second.log_softmax(1)
        agreement = ((a.exp() - b.exp()) * (a - b)).sum(1)  # both divergences at once
        return (1 - self.config.lambda_) * supervised + self.config.lambda_ * agreement

    def teach(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        x, y = batch["x"], batch["y"]
        first = self(x)
        losses = self.joint(first, self.peer(x), y)
        chosen = small_loss(losses.detach(), 1 - self.forgotten())
        kept = torch.zeros_like(y, dtype=torch.bool).index_fill(0, chosen, True)
        return {"loss": losses[chosen].mean(), "accuracy": (first.argmax(1) == y).float().mean()}, kept
