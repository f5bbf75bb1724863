"""Label smoothing (Szegedy et al. 2016, section 7; its effect on calibration: Müller et al. 2019).

    L = (1/B) sum_i (1 - eps) CE(a_i, y_i) + eps (1/C) sum_c CE(a_i, c)

a are logits: the target of an example is its label with weight 1 - eps, and the uniform distribution over all C classes with eps. With
``smoothing=0`` it is maximum likelihood.

Differences from the papers: the shared network and Adam. ``smoothing`` is 0.1, the value of both for ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Share
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="label-smoothing",
    title="Label smoothing",
    family="calibration",
    home="calibration/mnist",
    cite="Szegedy et al. 2016; Müller et al. 2019",
    splits=True,
    defaults="paper",
)


class LabelSmoothing(ClassifierMethod, MaximumProbability):
    """The shared classifier with softened targets."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        smoothing: Share = 0.1  # eps

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, y = self(batch["x"]), batch["y"]
        nll = F.cross_entropy(logits, y)
        uniform = -logits.log_softmax(1).mean()
        eps = self.config.smoothing
        return {"loss": (1 - eps) * nll + eps * uniform, "nll": nll, "accuracy": (logits.argmax(1) == y).float().mean()}
