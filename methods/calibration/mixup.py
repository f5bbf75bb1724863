"""Mixup (Zhang et al. 2018; its effect on calibration: Thulasidasan et al. 2019).

    x~_i = lambda x_i + (1 - lambda) x_pi(i),     L = (1/B) sum_i lambda CE(a~_i, y_i) + (1 - lambda) CE(a~_i, y_pi(i))

a~ are the logits of x~; pi is a permutation of the batch and lambda ~ Beta(alpha, alpha), both drawn once for a batch, which is the mixture
of labels of the paper since cross-entropy is linear in its target. With ``alpha=0`` nothing is mixed: maximum likelihood.

Differences from the papers: the shared network, Adam at a constant rate. ``alpha`` is 0.2, that of Zhang et al. for ImageNet; they have 1
for CIFAR, Thulasidasan et al. values from 0.1 to 0.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="mixup",
    title="Mixup",
    family="calibration",
    home="calibration/mnist",
    cite="Zhang et al. 2018; Thulasidasan et al. 2019",
    defaults="paper",
)


class Mixup(ClassifierMethod, MaximumProbability):
    """The shared classifier, trained between its examples."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        alpha: NonNegative = 0.2

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """lambda, a scalar, and pi ``(B,)``."""
        alpha = x.new_tensor(self.config.alpha, dtype=torch.float32)
        share = torch.distributions.Beta(alpha, alpha).sample() if self.config.alpha > 0 else torch.ones_like(alpha)
        return share, torch.randperm(len(x), device=x.device)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch["x"], batch["y"]
        share, other = self.draw(x)
        logits = self(share * x + (1 - share) * x[other])
        mixed = share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, y[other])
        accuracy = (logits.argmax(1) == torch.where(share >= 0.5, y, y[other])).float().mean()
        return {"loss": mixed, "accuracy": accuracy}
