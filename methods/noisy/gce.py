"""Generalised cross-entropy (Zhang and Sabuncu 2018, equation 6).

    L_q(p, y) = (1 - p_y^q) / q,   0 < q <= 1

the negative Box-Cox transformation of the probability of the given label. For q -> 0 it is cross-entropy, for q = 1 it is 1 - p_y, half the
mean absolute error between p and the one-hot label, which symmetric noise leaves unchanged but for a constant. Its gradient is that of
cross-entropy times p_y^q, so that labels against which the network is sure count little.

q = 0.7 is that of all of the paper's experiments (section 4).

Differences from the paper: the shared backbone and Adam at a constant rate (ResNets, SGD with steps there). L_q alone, without truncation:
the truncated loss of section 3.3 leaves out, later in training, examples whose given label is less probable than 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Range
from elboard.methods.noisy.robust import RobustLoss

CARD = MethodCard(
    name="gce",
    title="Generalised cross-entropy",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Zhang and Sabuncu 2018",
    splits=True,
    defaults="paper",
)


class GeneralisedCrossEntropy(RobustLoss):
    @dataclass(kw_only=True)
    class Config(RobustLoss.Config):
        q: Annotated[float, Range(above=0, high=1)] = 0.7

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        log_p = -F.cross_entropy(logits, y, reduction="none")
        return -(self.config.q * log_p).expm1() / self.config.q  # precise for small q, where p^q is close to 1
