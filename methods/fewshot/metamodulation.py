"""MetaModulation: new tasks by modulating the features of one by another (Sun, Du, Zhen, Wang, Wang and Snoek 2023).

    a^ = (a - mean) / sqrt(var + 1e-5),  a = conv_l(h_i)             per channel, over all images of the batch
    out = (gamma + d_gamma) a^ + beta + d_beta,     then ReLU and pooling, as in the unmodulated block
    q(d_gamma, d_beta | task j) = N(mu(g), exp(logvar(g))),  p = N(0, I),     g: what block l gives of task j, pooled over pixels and images
    minimise  CE(queries of the modulated task) + lambda sum_l KL(q || p)        by one draw of the offsets

mu and logvar are networks with one hidden layer of as many units as channels, four for each block. ``levels="all"`` modulates each block,
with task j seen through the blocks before as they are modulated: q_l is conditional on the draw of level l - 1, the feature hierarchy.
``levels="last"`` modulates the last block alone, and ``variational=false`` takes mu as the offset and has no KL. As defaults:
hierarchical variational task modulation. Half of the batches are mixed by CutMix instead, ``cutmix``. Tests are of the unmodulated network.

Support and query have the same offsets; the context g is the mean of that of the support and that of the queries, so that it does not
depend on the number of shots.

Differences from the paper: what its equations say and the released code does not. There the networks of the offsets are made anew in each
step and are never trained (``rebuilt=true`` does the same), the KL has a prior of variance e and is of the last block's beta alone, one
mean and variance normalise the whole tensor, and 100 draws of an offset are averaged, which leaves a tenth of its deviation (``draws``).
How q_l sees level l - 1 was not verified; here a^ of both tasks are of the same statistics there. The modulation is drawn for a batch, in
the code for each task. There the partner is the task itself in some batches, here in none, and support and query have a KL each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.fewshot import EpisodeSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, NonNegative, Share
from elboard.methods.fewshot.base import Block, Interpolating
from elboard.methods.parts.divergences import kl_to_standard_normal

CARD = MethodCard(
    name="metamodulation",
    title="Task modulation (MetaModulation) on prototypes",
    family="fewshot",
    home="fewshot/omniglot",
    paper="011",
    cite="Sun et al. 2023",
    aliases=("hierarchical-variational-metamodulation",),
    defaults="library",
)


class Offsets(nn.Module):
    """The networks of one block: contexts ``(M, C)`` to means and log-variances of its offsets, each ``(M, 2, C)``, of scale and shift."""

    def __init__(self, channels: int, variational: bool):
        super().__init__()
        self.mean, self.logvar = (
            nn.ModuleList([nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)) for _ in range(of)])
            for of in (2, 2 * variational)
        )

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor | None]:
        means, logvars = (torch.stack([net(context) for net in nets], dim=1) if len(nets) else None for nets in (self.mean, self.logvar))
        return at_least_single(means), logvars if logvars is None else at_least_single(logvars)


class MetaModulation(Interpolating):
    """See the module."""

    resting = True  # the offsets' networks, where CutMix mixes

    @dataclass(kw_only=True)
    class Config(Interpolating.Config):
        variational: bool = True
        levels: Literal["all", "last"] = "all"
        kl_weight: NonNegative = 0.001  # lambda, released code
        cutmix: Share = 0.5  # of batches; released code
        draws: Count = 1  # of an offset, averaged
        rebuilt: bool = False  # offsets by networks that are made anew in each step

    def __init__(self, config: Any, spec: EpisodeSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.modulated = range(len(self.blocks)) if config.levels == "all" else range(len(self.blocks) - 1, len(self.blocks))
        self.offsets = nn.ModuleList([] if config.rebuilt else self.networks())

    def networks(self) -> list[Offsets]:
        """Those of the modulated blocks, untrained."""
        return [Offsets(self.config.filters, self.config.variational) for _ in self.modulated]

    def train_features(self, x: Tensor, shot: int) -> dict[str, Tensor]:
        if torch.rand(()) < self.config.cutmix:
            return {"features": self.embed(self.cut(x)), "kl": x.new_zeros(())}
        features, kl = self.modulate(x, shot)
        return {"features": features, "penalty": self.config.kl_weight * kl, "kl": kl}

    def modulate(self, x: Tensor, shot: int) -> tuple[Tensor, Tensor]:
        """Features ``(M, W, N, F)`` of images ``(M, W, N, C, H, W)``, each task modulated by the next one, and the KL, a mean of tasks."""
        networks = iter([net.to(x.device) for net in self.networks()] if self.config.rebuilt else self.offsets)
        kl, streams = x.new_zeros(()), x[None]  # of task i, and from the first modulated block on of its partner j
        for level, block in enumerate(self.blocks):
            normalised = block.normalised(streams)
            if level not in self.modulated:
                streams = block.out(normalised)
                continue
            if len(streams) == 1:
                normalised = torch.cat([normalised, normalised.roll(-1, 1)])
            mean, logvar = next(networks)(self.context(block, normalised[1], shot))
            scale, shift = self.draw(mean, logvar)[:, :, None, None].unbind(1)  # (M, 1, 1, C), the same for support and query
            streams = block.out(normalised, scale, shift)
            kl = kl if logvar is None else kl + kl_to_standard_normal(mean, logvar).sum(1).mean()
        return streams[0].flatten(-3), kl

    def context(self, block: Block, normalised: Tensor, shot: int) -> Tensor:
        """g of each task, ``(M, C)``: the unmodulated output of ``block``."""
        of_images = at_least_single(block.out(normalised)).mean((-2, -1))
        return (of_images[:, :, :shot].mean((1, 2)) + of_images[:, :, shot:].mean((1, 2))) / 2

    def draw(self, mean: Tensor, logvar: Tensor | None) -> Tensor:
        """Offsets, as ``mean``."""
        if logvar is None:
            return mean
        noise = torch.randn(self.config.draws, *mean.shape, dtype=mean.dtype, device=mean.device).mean(0)
        return mean + (0.5 * logvar).exp() * noise
