"""What methods of unlearning share: the network of their boards, where they start from, what they are judged by.

    logits = head(g(x)),   g: conv 5x5 16 - pool - conv 5x5 32 - pool - linear 256,   head: linear 128 - linear C

g(x) is the embedding, without a rectifier (Shen et al. 2024, the network for MNIST). A rectifier follows each convolution and the linear
layer of 128; convolutions do not pad: neither was verified.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.classification import Predictor
from elboard.bench.kinds.unlearning import ForgetSpec, Unlearner
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch

EMBEDDING = 256


class Network(Method, Unlearner):
    """The board's network, by maximum likelihood of the labels of examples that ``chosen`` picks: all of them.

    ``extractor`` gives embeddings ``(B, 256)``, ``head`` the logits ``(B, C)`` of them.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 1e-3  # ten times the paper's, as a run at lite has a tenth of its steps or fewer
        weight_decay: NonNegative = 1e-4  # the paper

    def __init__(self, config: Any, spec: ForgetSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        channels, height, width = spec.shape
        side = [((size - 4) // 2 - 4) // 2 for size in (height, width)]
        self.extractor = nn.Sequential(
            *[nn.Conv2d(channels, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Flatten(), nn.Linear(32 * side[0] * side[1], EMBEDDING)],
        )
        self.head = nn.Sequential(nn.Linear(EMBEDDING, 128), nn.ReLU(), nn.Linear(128, spec.n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)``."""
        return at_least_single(self.head(self.extractor(x)))

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self(x).softmax(1)[None]

    def chosen(self, batch: Batch) -> Tensor:
        """Which examples of a batch are learned from, boolean ``(B,)``."""
        return torch.ones_like(batch["forget"])

    def likelihood(self, batch: Batch) -> Tensor:
        """Mean log-likelihood of the labels of :meth:`chosen` examples; 0 of none."""
        which = self.chosen(batch)
        losses = F.cross_entropy(self(batch["x"]), batch["y"], reduction="none")
        return -(losses * which).sum() / which.sum().clamp(min=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.likelihood(batch)}


class Unlearning(Network):
    """Starts from the weights of the run ``original``, and is judged by what that one is judged by."""

    def __init__(self, config: Any, spec: ForgetSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.extractor, self.head = (copy.deepcopy(part).train() for part in (self.base.extractor, self.base.head))

    @property
    def retrained(self) -> Predictor:
        return self.base.retrained
