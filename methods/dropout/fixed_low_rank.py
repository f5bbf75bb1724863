"""Networks of a fixed low rank, one for each size (Khodak et al. 2021; the first part of Pufferfish, Wang et al. 2021).

    y = U (V^T x) + bias,     U = P_b sqrt(S_b), V = Q_b sqrt(S_b) of the truncated decomposition of the usual random weights

Each layer but the last one has the same share of its full rank, the largest with which the network is as small as asked; as large as the
dense network it is the dense network. The networks share no parameter and SGD works element by element: one optimiser equals one for each.

Differences from the papers: no warm-up at full rank and no decay of the product's norm. One run trains all sizes and so costs what these
cost, where methods that order their components train one network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compression import CompressibleClassifier, SizedSpec
from elboard.bench.method import Bases, Method
from elboard.bench.task import Batch
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.low_rank import factorise, in_proportion, parameters_of, replaced

CARD = MethodCard(
    name="fixed-low-rank",
    title="Networks of fixed low rank, one for each size",
    family="dropout",
    home="compression/mnist",
    paper="066",
    cite="Khodak et al. 2021",
    splits=True,
    defaults="convention",
)


class FixedLowRank(Method, CompressibleClassifier):
    """Attributes: networks: one for each of the data's sizes, ascending, from inputs to logits."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        backbone: Literal["mlp", "cnn"] = "mlp"
        optimizer: str = "sgd"
        lr: float = 0.05
        schedule: str = "cosine"

    def __init__(self, config: Any, spec: SizedSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.networks = nn.ModuleList([self._network(size) for size in spec.sizes])

    def _network(self, size: int) -> nn.Module:
        plain = ClassifierMethod(self.config, self.spec)
        if parameters_of(plain) <= size:
            return nn.Sequential(plain.backbone, plain.head)
        layers = factorise(plain.backbone)
        fixed = parameters_of(plain) - sum(layer.left.numel() + layer.right.numel() for layer in layers)
        return nn.Sequential(replaced(plain.backbone, in_proportion(layers, size - fixed)), plain.head)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = [network(batch["x"]) for network in self.networks]
        accuracy = torch.stack([(of.argmax(1) == batch["y"]).float().mean() for of in logits]).mean()
        return {"loss": torch.stack([F.cross_entropy(of, batch["y"]) for of in logits]).sum(), "accuracy": accuracy}

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        """Overridden so that each network is clipped by itself."""
        for network in self.networks if self.config.clip > 0 else ():
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)

    def compressed(self, parameters: int) -> nn.Module:
        fitting = [network for network in self.networks if parameters_of(network) <= parameters]
        return max(fitting, key=parameters_of) if fitting else min(self.networks, key=parameters_of)
