"""Early and late dropout (Liu et al. 2023), of units and of paths.

The rate follows the share t of training that is done, with the cutoff c:

    early, linear:     p(t) = p0 (1 - t / c)  for t < c,  else 0         early, constant:  p(t) = p0  for t < c,  else 0
    late:              p(t) = 0               for t < c,  else p0        always:           p(t) = p0

set before each step; masks are scaled by 1 / (1 - p) and prediction has none. With ``masks=paths`` they are those of stochastic depth,
whose rate rises linearly with depth, from 0 in the first layer to p(t) in the last one. ``dropout=0`` is the network without masks. Early
dropout is for networks that under-fit: the gradients of the first steps point more alike. Late dropout is for those that over-fit.

Differences from the paper: a mixer of 23,000 parameters instead of ViT-T, Mixer-S and larger ones (or another shared backbone, with masks
of units alone); batches of the task's size instead of 4,096, no mixup, no augmentation but that of the task. Its linear schedule reaches 0
in the last step before the cutoff, ours at the cutoff. Optimiser, decay, rates and cutoff are those of its basic recipe for ImageNet; that
the warm-up takes 50 of 300 epochs is from memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.method import Bases
from elboard.bench.options import Share
from elboard.bench.task import DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.masks import DropPath, MaskedPasses
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="early-dropout",
    title="Early and late dropout",
    family="dropout",
    home="dropout/fashion-crops",
    paper="028",
    cite="Liu et al. 2023",
    splits=True,
    defaults="paper",
)


class EarlyDropout(ClassifierMethod, MaskedPasses, MaximumProbability):
    """A classifier whose masks come and go over training."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        backbone: Literal["mixer", "mlp", "cnn", "resnet20"] = "mixer"
        lr: float = 4e-3
        optimizer: str = "adamw"
        weight_decay: float = 0.05
        schedule: str = "cosine"
        warmup: float = 0.167  # the same for all arms, in which masks come and go
        dropout: float = 0.1  # p0; of paths the paper has 0.5 for ViT-T
        masks: Literal["units", "paths"] = "units"
        when: Literal["early", "late", "always"] = "early"
        decay: Literal["linear", "constant"] = "linear"  # of early dropout
        cutoff: Share = 0.167  # of training; 50 of 300 epochs

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if config.masks == "paths" and config.backbone != "mixer":
            raise UserError(f"masks=paths needs backbone=mixer: {config.backbone} has no paths that can be left out")
        super().__init__(config, spec, bases)

    def rate(self) -> float:
        """p at the present progress."""
        c, p, t = self.config, self.config.dropout, self.progress
        if c.when == "always":
            return p
        if c.when == "late":
            return p if t >= c.cutoff else 0.0
        if t >= c.cutoff:
            return 0.0
        return p * (1 - t / c.cutoff) if c.decay == "linear" else p

    def features(self, x: Tensor) -> Tensor:
        p = self.rate()
        if self.config.masks == "paths":
            layers = self.backbone.paths
            for depth, pair in enumerate(layers):
                for path in pair:
                    path.p = p * depth / (len(layers) - 1)
        for layer in self.backbone.modules():
            if isinstance(layer, nn.Dropout) and not isinstance(layer, DropPath):
                layer.p = p if self.config.masks == "units" else 0.0
        return self.backbone(x)
