"""Maestro: low-rank ordered dropout (Horvath, Laskaridis, Rajput and Wang 2024).

Each layer is a product, y = U (V^T x) + bias with U (m, r), V (n, r), r = min(m, n), that begins as the singular value decomposition of the
usual random weights. In a step one pair (i, b) of a layer and a rank is drawn: layer i has its first b components, all others have all,

    L = CE(f_{i,b}(x), y)  [+ CE(f(x), y)]  + lambda sum_i sum_b ( |U_i[:, b:]|_F + |V_i[:, b:]|_F ),     b = 1..r_i

The norms (not their squares) of all suffixes drive the last components, which are in most of them, to zero. After each epoch those with
|U[:, b:]|_F |V[:, b:]|_F < eps are dropped for good. Components are then ordered, so that smaller networks are made without training: the
least important components of all layers go first, and a product that would be larger than the one matrix is multiplied out.

``lasso=0`` is without the norms. Pairs are walked through in random order, each once in a round.

Differences from the paper: the shared networks without batch normalisation, and their last linear layer is not decomposed; dropped
components are masked, as in the official code, and leave when a smaller network is made; no distillation. Importances are compared between
layers in shares of that of all components of a layer. All methods of the board have SGD with momentum at 0.05 and a cosine, where the
official script for MNIST has 0.01 and the paper's networks on CIFAR-10 steps by a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compression import CompressibleClassifier
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.low_rank import RankWalk, factorise, shrunk

CARD = MethodCard(
    name="maestro-lod",
    title="Low-rank ordered dropout (Maestro)",
    family="dropout",
    home="compression/mnist",
    paper="066",
    cite="Horvath et al. 2024",
    splits=True,
    defaults={"trials": 5, "on": "compression/mnist", "by": "accuracy/p10", "options": ("lasso", "full"), "rest": "convention"},
)


class MaestroLoD(ClassifierMethod, CompressibleClassifier):
    """See the module.

    Attributes:
        live: the number of components that each layer still has, ``(L,)``.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        backbone: Literal["mlp", "cnn"] = "mlp"
        optimizer: str = "sgd"
        lr: float = 0.05
        schedule: str = "cosine"
        lasso: NonNegative = 3e-4  # lambda; the official options have 5e-3, its script for MNIST 1e-6
        threshold: NonNegative = 1e-5  # eps
        full: bool = False  # whether the loss of the whole network is added

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.layers = factorise(self.backbone)
        ranks = [layer.rank for layer in self.layers]
        self.walk = RankWalk(ranks)
        self.register_buffer("live", torch.tensor(ranks))

    def forward(self, x: Tensor, ranks: Tensor | None = None) -> Tensor:
        """Logits ``(B, C)`` with the first ``ranks`` (L,) components of each layer; with all that they have, if None."""
        self.open(self.live if ranks is None else ranks)
        return at_least_single(self.head(self.features(x)))

    def open(self, ranks: Tensor) -> None:
        for layer, kept in zip(self.layers, ranks, strict=True):
            layer.kept = kept

    def penalty(self) -> Tensor:
        """The hierarchical group lasso of what is left of all layers."""
        self.open(self.live)
        return sum((layer.mask() * (layer.suffixes(layer.left) + layer.suffixes(layer.right))).sum() for layer in self.layers)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"], self.walk.drawn(self.live))
        found = {"accuracy": (logits.argmax(1) == batch["y"]).float().mean()}
        fit = F.cross_entropy(logits, batch["y"])
        if self.config.full:
            fit = fit + F.cross_entropy(self(batch["x"]), batch["y"])
        return {"loss": fit + self.config.lasso * self.penalty(), **found, "rank": self.live.float().sum()}

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.walk.advance(self.live)
        self.agree(self.walk.order, self.walk.at)

    @torch.no_grad()
    def before_validation(self) -> None:
        self.open(self.live)
        enough = [(layer.importance() >= self.config.threshold).sum() for layer in self.layers]
        self.live.copy_(torch.minimum(self.live, torch.stack(enough)))

    @torch.no_grad()
    def compressed(self, parameters: int) -> nn.Module:
        self.open(self.live)
        return shrunk(self.backbone, self.head, parameters)
