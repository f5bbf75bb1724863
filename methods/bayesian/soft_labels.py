"""Maximum likelihood with soft labels: several labels for each input, or smoothed ones (Szegedy et al. 2016, section 7).

    L = (1/N) sum_i sum_c -t_ic log q(c | x_i),     t_i = (1 - s) (1/M) sum_m onehot(y_i^m) + s / C

M labels an input (``labels``, where the data have them) are the benefit that the variational information bottleneck is to give from one
label (Alemi et al. 2020); M to infinity is the cross-entropy with the true conditional at the training inputs. ``smoothing`` is s, by
default the 0.1 of Szegedy et al.; with s = 0 and M = 1 it is maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.teacher import ManyLabels
from elboard.bench.method import Bases
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability
from elboard.methods.parts.soft_labels import checked_labels, frequencies

CARD = MethodCard(
    name="soft-labels",
    title="Maximum likelihood with several or smoothed labels",
    family="bayesian",
    home="noisy/teacher",
    paper="035",
    cite="Szegedy et al. 2016; several labels: Alemi et al. 2020",
    splits=True,
    defaults="paper",
)


class SoftLabels(ClassifierMethod, MaximumProbability, ManyLabels):
    """The shared classifier with other targets."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        labels: Count = 1  # M
        smoothing: Share = 0.1  # s

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.labels = checked_labels(config.labels, spec)

    def labels_learned(self) -> int:
        return self.labels

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, s = self(batch["x"]), self.config.smoothing
        target = (1 - s) * frequencies(batch, self.labels, self.spec.n_classes) + s / self.spec.n_classes
        return {"loss": F.cross_entropy(logits, target), "accuracy": (logits.argmax(1) == batch["y"]).float().mean()}
