"""Momentum contrast, version 3 (Chen, Xie and He 2021).

    term = - 2 t log ( exp(q.k+ / t) / sum_j exp(q.k_j / t) )

q is the student's prediction of one view, k_j are the teacher's embeddings of the other view of all images of the batch, k+ that of the
same image; all have length 1. The factor 2 t is the paper's, and makes the scale of gradients alike for any temperature.

Differences from the paper: a small backbone, projector and predictor, d = 64, Adam, tau from 0.99, as of BYOL here; batches of a hundred
images instead of 4096, so that there are as few negatives, in each of several processes its own; t = 0.2, a usual value; the loss is
the mean of both orders instead of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Positive
from elboard.methods.selfsup.base import Seen
from elboard.methods.selfsup.byol import BYOL

CARD = MethodCard(
    name="moco-v3",
    title="Momentum contrast, version 3",
    family="selfsup",
    home="selfsup/fashion-mnist",
    cite="Chen, Xie and He 2021",
    defaults="convention",
)


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Mean over rows i of ``-log softmax_j(q_i.k_j / temperature)`` at j = i; the positive is in the denominator."""
    return F.cross_entropy(queries @ keys.T / temperature, torch.arange(len(queries), device=queries.device))


class MoCoV3(BYOL):
    """Networks and teacher of BYOL; other images of the batch are negatives."""

    @dataclass(kw_only=True)
    class Config(BYOL.Config):
        temperature: Positive = 0.2  # t

    def term(self, seen: Seen, target: Seen) -> Tensor:
        t = self.config.temperature
        return 2 * t * info_nce(seen.prediction, target.embedding, t)
