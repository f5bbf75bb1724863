"""Multi-sample dropout: several masks of the same features in one step (Inoue 2019).

    h = trunk(x),     L = (1/M) sum_m CE(head(h * mask_m / (1 - p)), y),     mask_m ~ Bernoulli(1 - p) for each example and unit

The trunk runs once; what lies behind the dropout, the fully connected layers, runs M times with the same weights. Losses are averaged, not
logits or probabilities. Without noise in the trunk this is the loss of a batch in which every image occurs M times. Prediction has no mask
and one head. ``samples=1`` is ordinary dropout in that place.

Differences from the paper: the shared network, so that the head is the last two linear layers of "cnn" and "mlp" and the last one of
"resnet20", and no dropout elsewhere; Adam at 1e-3; no mirrored or padded features to make the copies more diverse. ``samples`` is the
paper's trade-off; ``dropout`` lies in the range of 0.3 to 0.5 that the paper studies (its 40 % is not verified).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.masks import MaskedPasses, dropout_on
from elboard.methods.parts.networks import halves
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="multi-sample-dropout",
    title="Multi-sample dropout",
    family="dropout",
    home="calibration/mnist",
    paper="030",
    cite="Inoue 2019",
    splits=True,
    defaults="convention",
)


class MultiSampleDropout(ClassifierMethod, MaskedPasses, MaximumProbability):
    """The shared classifier with one dropout layer between trunk and head."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        dropout: float = 0.5
        samples: Count = 8  # M

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(replace(config, dropout=0.0), spec, bases)
        self.config = config
        self.drop = nn.Dropout(config.dropout)

    def behind(self, x: Tensor, copies: int) -> Tensor:
        """Logits ``(copies * B, C)`` of as many masks of the trunk's features, image by image within each copy."""
        trunk, rest = halves(self.backbone)
        return self.head(rest(self.drop(trunk(x).repeat(copies, 1))))

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(x, 1)

    def masked(self, x: Tensor, n: int) -> Tensor:
        with dropout_on(self):
            return self.behind(x, n).softmax(1).view(n, len(x), -1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.behind(batch["x"], self.config.samples)
        y = batch["y"].repeat(self.config.samples)
        return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}
