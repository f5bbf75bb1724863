"""Sparse networks whose weights are exchanged while they train: "rigging the lottery" (Evci, Gale, Menick, Castro and Elsen 2020).

    min_w (1/B) sum_i CE(f(x_i; m * w), y_i),   ||m_l||_0 = density |w_l| in each layer
    remove by the least |w|, add by the largest |dL/dw|        (see :mod:`elboard.methods.parts.sparse_training`)

Differences from the paper: the shared network and its batches; masks change every thirty-second of training; the schedule of the rate is a
cosine. ``mask=static`` is a random mask that stays, "static" there; ``mask=pruned`` a dense network that is pruned at once.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.parts.scores import MaximumProbability
from elboard.methods.parts.sparse_training import SparseClassifier

CARD = MethodCard(
    name="rigl",
    title="Sparse network with exchanged weights",
    family="bayesian",
    home="calibration/fashion-mnist",
    cite="Evci et al. 2020",
    splits=True,
    defaults="convention",
)


class RigL(SparseClassifier, MaximumProbability):
    """The shared classifier under masks, by maximum likelihood."""

    def score(self, i: int) -> Tensor:
        return self.weights[i].abs()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(self.active(), batch["x"])
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self.logits(self.active(), x).softmax(1)[None]
