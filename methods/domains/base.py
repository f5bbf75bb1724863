"""What classifiers of domains share: a code of each image, a linear head on it, cross-entropy where there is a label, a penalty on codes.

    minimise  CE(y, head(z)) of images with labels  +  weight B(z, domain)

A method gives B. The code has 64 dimensions and no activation after it, and is the same network for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.domains import DomainPredictor, DomainSpec
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.networks import backbone


class DomainMethod(Method, DomainPredictor):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        backbone: Literal["mlp", "cnn"] = "mlp"
        code_dim: Count = 64
        weight: NonNegative = 1.0  # of the penalty

    def __init__(self, config: Any, spec: DomainSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        features = backbone(config.backbone, spec.shape)
        self.encoder = nn.Sequential(features, nn.Linear(features.n_features, config.code_dim))
        self.head = nn.Linear(config.code_dim, spec.n_classes)

    def codes(self, x: Tensor) -> Tensor:
        return at_least_single(self.encoder(x))

    def logits(self, z: Tensor) -> Tensor:
        return at_least_single(self.head(z))

    def probabilities(self, x: Tensor) -> Tensor:
        return self.logits(self.codes(x)).softmax(1)

    def penalty(self, z: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """B, a scalar, of codes ``(B, Z)``."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.parts_of(self.codes(batch["x"]), batch)

    def parts_of(self, z: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss and its parts from the codes of a batch."""
        logits = self.logits(z)
        error = labelled_error(logits, batch["y"])
        with torch.autocast(z.device.type, enabled=False):  # products of codes over a small temperature, and differences of moments
            penalty = self.penalty(z, logits, batch)
        return {"loss": error + self.config.weight * penalty, "error": error, "penalty": penalty}


def labelled_error(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of those that have a class, 0 where there are none."""
    return F.cross_entropy(logits, y, ignore_index=-1, reduction="sum") / (y >= 0).sum().clamp(min=1)


def mean_of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of ``values`` (B,) where ``valid``, 0 where nothing is; the others may be infinite and have no gradient."""
    return values.where(valid, 0).sum() / valid.sum().clamp(min=1)


def log_sum(scores: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """log sum_j e^scores over the ``of`` of each row ``(B, B)``, and the rows that have one; 0 for the others."""
    some = of.any(1)
    return scores.masked_fill(~of & some[:, None], -math.inf).logsumexp(1).where(some, 0), some
