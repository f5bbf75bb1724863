"""Focal loss (Lin et al. 2017), for calibration (Mukhoti et al. 2020).

    L = - (1/B) sum_i (1 - p_i)^gamma log p_i,     p_i = softmax(a_i)_{y_i}

It bounds KL(q || p) - gamma H(p) from above (Mukhoti et al., section 3), cross-entropy with a reward for the predictive's entropy. With
``gamma=0`` it is maximum likelihood. ``sample_dependent`` is their FLSD-53: gamma = 5 where p_i < 0.2, else 3, chosen without a gradient.

Differences from the papers: the shared network, Adam at a constant rate. ``gamma`` is 3, the best fixed one of Mukhoti et al.; Lin et al.
have 2, for detection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="focal-loss",
    title="Focal loss",
    family="calibration",
    home="calibration/mnist",
    cite="Lin et al. 2017; Mukhoti et al. 2020",
    splits=True,
    defaults="paper",
)


class FocalLoss(ClassifierMethod, MaximumProbability):
    """The shared classifier, whose examples count the less the surer it is of their label."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        gamma: NonNegative = 3.0
        sample_dependent: bool = False  # gamma = 5 where p < 0.2, else 3

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, y = self(batch["x"]), batch["y"]
        log_p = logits.log_softmax(1).gather(1, y[:, None])[:, 0]
        gamma = torch.where(log_p.detach().exp() < 0.2, 5.0, 3.0) if self.config.sample_dependent else self.config.gamma
        surprise = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)  # 1 - p; a power below 1 has no gradient at 0
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": -(surprise**gamma * log_p).mean(), "nll": -log_p.mean(), "accuracy": accuracy}
