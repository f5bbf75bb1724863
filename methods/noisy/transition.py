"""What corrected losses share: the transition matrix of the labels, estimated from a network that was trained on them as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.method import Bases
from elboard.bench.options import Share
from elboard.bench.task import Data, DataSpec
from elboard.methods.noisy.robust import RobustLoss

CHUNK = 250


def by_anchors(p: Tensor, quantile: float) -> Tensor:
    """The matrix T ``(C, C)`` of probabilities ``(N, C)`` of given labels: row i is the p of the anchor of class i.

    The anchor is the example at that ``quantile`` of p_i in ascending order: at 1 the one that is most surely labelled i.
    """
    return p[p.argsort(dim=0, stable=True)[round(quantile * (len(p) - 1))]]


class Corrected(RobustLoss):
    """A loss corrected for T, P(given = j | true = i) = T[i, j]; the network itself models true labels.

    Attributes:
        transition: T, ``(C, C)``; the identity until training begins.
    """

    @dataclass(kw_only=True)
    class Config(RobustLoss.Config):
        quantile: Share = 0.97  # of anchors, as in the official code but for CIFAR-100; 1: the maximum

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("transition", torch.eye(spec.n_classes))

    def adopt(self, transition: Tensor) -> None:
        """Take ``transition`` (C, C) for T."""
        self.transition.copy_(transition)

    def fit(self, data: Data, training: Any) -> None:
        """Estimate T on the training images, without their labels, and train."""
        with torch.no_grad():
            device = next(self.base.parameters()).device
            p = torch.cat([self.base.predict(x.to(device)).mean(0).cpu() for x in data.train["x"].split(CHUNK)])
        self.adopt(by_anchors(p, self.config.quantile))
        super().fit(data, training)
