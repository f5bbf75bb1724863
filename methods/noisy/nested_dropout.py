"""Nested dropout of the last features, against memorised labels (Chen et al. 2021, 2022; nested dropout: Rippel et al. 2014).

The classifier sees only the first k features, k drawn once for a batch,

    P(k) ~ exp(-((k - mu) / eta)^2),  k = 1..D;    logits = W (f(x) * m_k),  m_k = (1, .., 1, 0, .., 0) with k ones,

without rescaling by D/k and without a bias (which would give small k a constant class prior). So the features are ordered by importance,
and wrong labels, which need fine features, are learned last. After each epoch the prefix for prediction is

    k* = argmax_k accuracy_k - 1e-5 k

on the validation set. Its labels are as noisy as those of training; the validation accuracy reported is the one at k*, and so slightly too
high, the test accuracy is not. A task without validation data keeps k* = D.

Differences from the papers: the shared backbone and Adam at a constant rate (ResNet-18, D = 512, SGD with steps there); the last epoch is
kept unless ``train.keep=best``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.noisy import PrefixClassifier
from elboard.bench.method import Bases
from elboard.bench.options import Positive
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.noisy.base import quietly
from elboard.methods.parts.classifier import ClassifierMethod

CARD = MethodCard(
    name="nested-dropout",
    title="Nested dropout of the last features",
    family="noisy",
    home="noisy/digits-sym40",
    paper="013",
    cite="Chen et al. 2022",
    defaults={"trials": 3, "on": "noisy/mnist-sym50", "by": "accuracy", "options": ("eta",), "rest": "paper"},
)
PENALTY = 1e-5  # of one more feature, in accuracy
CHUNK = 250


class NestedDropout(ClassifierMethod, PrefixClassifier):
    """The shared classifier with a nested mask on its features and a head without bias.

    Attributes:
        prefix: k*, the number of features used for prediction.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        mu: float = 0.0
        eta: Positive = 30.0  # best of 10, 30, 100 by noisy validation on noisy/mnist-sym50 at lite; papers: 10 or 100, of 512 features

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        width = self.backbone.n_features
        self.head = nn.Linear(width, spec.n_classes, bias=False)
        self.register_buffer("sizes", torch.arange(1, width + 1), persistent=False)
        self.register_buffer("prefix", torch.tensor(width))
        self._held_out: Batch = {}

    def prepare(self, data: Data) -> None:
        self._held_out = data.valid

    def prefix_probabilities(self) -> Tensor:
        """P(k) for k = 1..D."""
        return (-(((self.sizes - self.config.mu) / self.config.eta) ** 2)).softmax(0)

    def draw_prefix(self) -> Tensor:
        """One k, a tensor without dimensions."""
        return self.sizes[torch.multinomial(self.prefix_probabilities(), 1)].squeeze(0)

    def forward(self, x: Tensor, prefix: Tensor | None = None) -> Tensor:
        mask = self.sizes <= (self.prefix if prefix is None else prefix)
        return self.head(self.features(x) * mask)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"], self.draw_prefix())
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": accuracy, "prefix": self.prefix.float()}

    def chosen_prefix(self) -> int:
        return int(self.prefix)

    def prefix_accuracies(self, x: Tensor, y: Tensor) -> Tensor:
        """Accuracy with each prefix, ``(D,)``, from one pass: the logits of prefix k are partial sums over features."""
        hits = torch.zeros(len(self.sizes), device=self.sizes.device)
        with quietly(self):
            for images, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
                parts = self.features(images.to(hits.device))[:, :, None] * self.head.weight.t()
                hits += (parts.cumsum(1).argmax(2) == labels.to(hits.device)[:, None]).sum(0)
        return hits / len(y)

    def choose_prefix(self) -> float:
        """Set k* by the validation data. Returns the accuracy at k*; 0 without validation data."""
        if not self._held_out:
            return 0.0
        accuracies = self.prefix_accuracies(self._held_out["x"], self._held_out["y"])
        best = (accuracies - PENALTY * self.sizes).argmax()
        self.prefix.copy_(best + 1)
        return float(accuracies[best])

    def before_validation(self) -> None:
        self.choose_prefix()
