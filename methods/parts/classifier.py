"""What classifiers share: a backbone, a linear head, cross-entropy, softmax probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.classification import Classifier
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.networks import backbone


class ClassifierMethod(Method, Classifier):
    """A deterministic classifier trained by maximum likelihood; base of the others.

    ``features(x)`` gives the penultimate activations ``(B, n_features)``, ``head`` the logits ``(B, C)`` of them.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        backbone: Literal["mlp", "cnn", "pooled", "resnet8", "resnet20"] = "cnn"  # pooled: means of maps
        dropout: Annotated[float, Range(0, below=1)] = 0.0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.backbone = backbone(config.backbone, spec.shape, config.dropout)
        self.head = nn.Linear(self.backbone.n_features, spec.n_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)``, in single precision or what is finer: on the CPU mixed precision leaves their logarithms in halves."""
        return at_least_single(self.head(self.features(x)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"])
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self(x).softmax(1)[None]
