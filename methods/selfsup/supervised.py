"""The same backbone, learned with the classes of all training images: what probes of self-supervised features can be compared with.

    L = mean over both views of - log softmax(W f(x) + b)_y

Cross-entropy on the same views for as many epochs (textbook; as a reference in Chen and He 2021). It sees what the others must not, so
that it is an oracle and no method. Its uncertainty is one minus the largest probability (Hendrycks and Gimpel 2017).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.selfsup import ClassOracle, UncertainViews
from elboard.bench.method import Bases
from elboard.bench.task import Batch, DataSpec
from elboard.methods.selfsup.base import Views

CARD = MethodCard(
    name="supervised",
    title="Features learned with classes",
    family="selfsup",
    home="selfsup/fashion-mnist",
    cite="textbook; Chen and He 2021",
    defaults="convention",
    oracle="the classes of all training images",
)


class Supervised(Views, UncertainViews, ClassOracle):
    """The backbone with one linear layer; the embedding are its logits."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.head = nn.Linear(self.backbone.n_features, spec.n_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = [self.logits(batch[name]) for name in ("x", "view")]
        accuracy = (logits[0].argmax(1) == batch["y"]).float().mean()
        return {"loss": 0.5 * sum(F.cross_entropy(of, batch["y"]) for of in logits), "accuracy": accuracy}

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    target = predicted = logits

    def uncertainty(self, x: Tensor) -> Tensor:
        return 1 - self.logits(x).softmax(1).amax(1)
