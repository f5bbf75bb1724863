"""Symmetric cross-entropy learning (Wang, Ma, Chen, Luo, Yi and Bailey 2019, section 3).

    L = alpha CE + beta RCE,   CE = - sum_c q_c log p_c,   RCE = - sum_c p_c log q_c,   log 0 = A < 0

with p the network's probabilities and q the given label, one-hot, so that CE = - log p_y and RCE = - A (1 - p_y). The reverse term is
bounded and, as the mean absolute error (which it is for A = -2), unchanged by symmetric noise but for a constant; cross-entropy beside it
learns the classes that the bounded term leaves behind.

A = -4, and alpha = 0.01, beta = 1 as the paper has them on MNIST (0.1 and 1 on CIFAR-10, 6 and 0.1 on CIFAR-100).

Differences from the paper: the shared backbone and Adam at a constant rate (SGD with steps and weight decay there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Range
from elboard.methods.noisy.robust import RobustLoss

CARD = MethodCard(
    name="symmetric-ce",
    title="Symmetric cross-entropy",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Wang et al. 2019",
    splits=True,
    defaults="paper",
)


class SymmetricCrossEntropy(RobustLoss):
    @dataclass(kw_only=True)
    class Config(RobustLoss.Config):
        alpha: NonNegative = 0.01
        beta: NonNegative = 1.0
        log_zero: Annotated[float, Range(below=0)] = -4.0  # A

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        c, ce = self.config, F.cross_entropy(logits, y, reduction="none")
        return c.alpha * ce + c.beta * c.log_zero * (-ce).expm1()
