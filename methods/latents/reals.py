"""Representation-aligned latent space, ReaLS (Xu, Yue, Wang et al. 2025): a VAE whose latents also say what a frozen encoder sees.

    A(u, v)  = 0.9 (1 - cos(u, v)) + 0.1 smoothL1(u~, v~)             ~: standardised in each dimension, as f_p are over training
    L_align  = mean_p A(h(z)_p, f_p) + A(g(mean_p z_p), f)            images and places; f_p: features at places, f: their mean
    L        = mean |x - D(z)| + kl KL(q(z|x) || N(0, I)) + align L_align

Gradients of L_align pass h and g into the encoder of the VAE; the encoder of features stays as it is. Networks, weight of the KL and steps
are those of ``latent-vae-flow``, which ``align=0`` is.

Of what is marked unverified on the paper's card these are ours: h and g are of three layers with SiLU, h at each place; both terms of
L_align weigh alike. ``align`` is one of the middle of 0.1 to 1, not searched: the script that has the constants of A has 1.

Differences from the paper: hidden layers of 128 units, not 1,024; latents have the places of the features (4 x 4 of 14 x 14 pixels), so
that neither is resized; an encoder by SimCLR in the place of DINOv2 (``facebook/dinov2-base``), whose features at places have a mean and no
token of the whole image; latents are brought to unit scale in each channel and not by one number, and drawn by 25 steps of Euler's method
and not 250 of Euler and Maruyama; for the rest see :mod:`elboard.methods.latents.latent_vae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Data
from elboard.methods.latents.base import CHUNK, TINY, OnFeatures
from elboard.methods.latents.latent_vae import Autoencoding

CARD = MethodCard(
    name="reals",
    title="Representation-aligned latents (ReaLS)",
    family="latents",
    home="latents/fashion14",
    paper="091",
    cite="Xu, Yue, Wang et al. 2025",
    bases={"encoder": {"method": "simclr", "task": "selfsup/fashion14", "seed": 0}},
    defaults="convention",
)
COSINE, SMOOTH = 0.9, 0.1  # of a training script that cites the paper for them


def alignment(u: Tensor, v: Tensor, scale: Tensor) -> Tensor:
    """A (...,) of vectors (..., C), of which each is divided by ``scale`` (C,) for the second term."""
    u, v = at_least_single(u), at_least_single(v)
    smooth = F.smooth_l1_loss(u / scale, v / scale, reduction="none").mean(-1)
    return COSINE * (1 - F.cosine_similarity(u, v, dim=-1)) + SMOOTH * smooth


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three layers with SiLU between them."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class ReaLS(OnFeatures, Autoencoding):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        align: NonNegative = 0.5
        hidden: Count = 128

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        dimensions = self.base.backbone.n_features
        self.of_places = head(config.channels, config.hidden, dimensions)
        self.of_all = head(config.channels, config.hidden, dimensions)
        self.register_buffer("spread", torch.ones(dimensions))

    def prepare(self, data: Data) -> None:
        """The standard deviation of each feature, by which means cancel in the difference that smooth-L1 is of."""
        super().prepare(data)
        parts = [self.features(part.to(self.base.device)).cpu() for part in data.train["x"].split(CHUNK)]
        self.spread.copy_(torch.cat(parts).transpose(0, 1).flatten(1).std(1).clamp_min(TINY))

    def align_loss(self, z: Tensor, f: Tensor) -> Tensor:
        """L_align of latents (B, c, h, w) with features (B, C, h, w)."""
        z, f = (of.flatten(2).transpose(1, 2) for of in (z, f))
        of_places = alignment(self.of_places(z), f, self.spread).mean()
        return of_places + alignment(self.of_all(z.mean(1)), f.mean(1), self.spread).mean()

    def tokenizer_loss(self, x: Tensor) -> dict[str, Tensor]:
        out, z = self.vae_terms(x)
        if self.config.align == 0:
            return out
        aligned = self.align_loss(z, self.features(x))
        return {**out, "loss": out["loss"] + self.config.align * aligned, "alignment": aligned.detach()}
