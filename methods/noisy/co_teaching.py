"""Co-teaching (Han et al. 2018, algorithm 1).

Two networks see every batch. Each ranks its examples by its own loss; the other is updated on the examples of smallest loss,

    B_1 = argmin_{|B'| = R(t)|B|} sum_{i in B'} l_1(i),   B_2 likewise,
    w_1 <- step on mean_{i in B_2} l_1(i),   w_2 <- step on mean_{i in B_1} l_2(i),
    R(t) = 1 - tau min(t / T_k, 1),

because networks learn clean examples first, and a peer with other weights does not confirm one's own errors.

tau is the rate of wrong labels, which the paper takes as known: it comes with the data. Methods without a forget rate do not use this
knowledge. At equal epochs the pair costs twice as much as one network.

Differences from the paper: the shared backbone and Adam at a constant rate in the place of its nine-layer network with linear decay;
T_k is a share of training, 10 of 200 epochs; the number selected is rounded, not cut off. As in the paper a single network predicts
(the first one), so that the comparison with cross-entropy is not one with an ensemble; ``ensemble=true`` averages both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Share
from elboard.bench.task import Batch
from elboard.methods.noisy.base import CoTaught, small_loss
from elboard.methods.parts.schedules import ramp

CARD = MethodCard(
    name="co-teaching",
    title="Co-teaching of two networks by small-loss examples",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Han et al. 2018",
    defaults="paper",
)


class CoTeaching(CoTaught):
    @dataclass(kw_only=True)
    class Config(CoTaught.Config):
        ramp: Share = 0.33  # share of training until the full forget rate: T_k = 10 epochs in section 4.1, there of 200, at lite of 30

    def forgotten(self) -> float:
        """1 - R(t): the share of a batch left out now."""
        return self.forget_rate * ramp(self.progress, self.config.ramp)

    def teach(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        y, share = batch["y"], 1 - self.forgotten()
        logits = self(batch["x"]), self.peer(batch["x"])
        with torch.no_grad():
            first, second = (small_loss(F.cross_entropy(of, y, reduction="none"), share) for of in logits)
        loss = F.cross_entropy(logits[0][second], y[second]) + F.cross_entropy(logits[1][first], y[first])
        kept = torch.zeros_like(y, dtype=torch.bool).index_fill(0, first, True)
        return {"loss": loss, "accuracy": (logits[0].argmax(1) == y).float().mean()}, kept
