"""Pixel-semantic VAE, PS-VAE (Zhang, Zhang, Zhang, Ge et al. 2025): features of a frozen encoder made compact, regular, and true to pixels.

    S-VAE:   f = F_0(x),   q(z|f) = N(mu, sigma^2),   L = L_s(D_s(z), f) + kl KL(q || N(0, I)),     L_s(f^, f) = |f^ - f|^2 + 1 - cos(f^, f)
             beside it the decoder D_p of pixels learns from z without a gradient to anything else,   L_p = sum over pixels |x - D_p(z)|
    PS-VAE:  then, with f = F(x) of an encoder that starts as F_0 and learns too,
             L = semantics L_s(D_s(z), F_0(x)) + pixels L_p + kl KL                                  F_0(x) never moves

``pixels=0`` stays at the first, S-VAE; ``semantics=0`` leaves pixels alone after it, P-VAE. Without the ``bottleneck`` z is f itself: with
``pixels=0`` frozen features (RAE: Zheng et al. 2025), which is ``svg-diffusion`` without residuals, else RAE-HD, whose L_s is of F(x).
The recipes are those five. Each stage takes half of the tokenizer's share of training; what has but one takes both halves for it.

The paper contradicts itself on which of the two weights is 0.1: here it is that of pixels (section 4.1); ``semantics=0.1``, ``pixels=1``
is the other (section 4.4).

Differences from the paper: an encoder by SimCLR in the place of DINOv2 (``facebook/dinov2-base``), with 32 channels and 4 x 4 places of
14 x 14 pixels, 8 channels of latents instead of 96 of 768; E_s and D_s are two convolutions and a layer at each place, as the encoder is
convolutional, instead of three blocks of a transformer; squares are means over channels; neither a perceptual nor an adversarial loss; the
weight of the KL, for which the paper refers to latent diffusion (1e-6), is 1e-4, here beside a sum over pixels, and the length is that of
:mod:`elboard.methods.latents.latent_vae`; times of sampling are moved as those of training, where the paper has 3 for all; the generator
is that of the family, of classes instead of texts, and has no guidance (6.5).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, NonNegative
from elboard.methods.latents.base import OnFeatures
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.maps import MapDecoder, stage

CARD = MethodCard(
    name="ps-vae",
    title="Pixel-semantic VAE",
    family="latents",
    home="latents/fashion14",
    paper="114",
    cite="Zhang, Zhang, Zhang, Ge et al. 2025",
    bases={"encoder": {"method": "simclr", "task": "selfsup/fashion14", "seed": 0}},
    defaults="convention",
    recipes={
        "s-vae": {"set": {"pixels": 0.0}},
        "p-vae": {"set": {"semantics": 0.0}},
        "rae": {"set": {"bottleneck": False, "pixels": 0.0}},
        "rae-hd": {"set": {"bottleneck": False}},
        "pixels-first": {"set": {"semantics": 0.1, "pixels": 1.0}},
    },
)
WIDTH = 64


def semantic(again: Tensor, f: Tensor) -> Tensor:
    """L_s, mean over images and places, of maps (B, C, h, w)."""
    again, f = at_least_single(again), at_least_single(f)
    return (again - f).square().mean() + (1 - F.cosine_similarity(again, f, dim=1)).mean()


def around(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions and a layer at each place."""
    return nn.Sequential(stage(inputs, WIDTH), stage(WIDTH, WIDTH), nn.Conv2d(WIDTH, outputs, 1))


class PSVAE(OnFeatures):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(OnFeatures.Config):
        channels: Count = 8  # of latents with a bottleneck
        bottleneck: bool = True
        semantics: NonNegative = 1.0  # w_s of the second stage; section 4.1
        pixels: NonNegative = 0.1  # w_p; ditto
        kl: NonNegative = 1e-4
        times: Literal["uniform", "logit-normal"] = "logit-normal"
        shift: NonNegative = 0.0

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        dimensions = self.base.backbone.n_features
        channels = config.channels if config.bottleneck else dimensions
        self.decoder = MapDecoder(spec.shape, channels)
        self.generate_in(channels, self.base.backbone.grid)
        self.encoder = copy.deepcopy(self.base.backbone).requires_grad_(config.pixels > 0)
        if config.bottleneck:
            self.compress, self.expand = around(dimensions, 2 * channels), around(channels, dimensions)

    def ends(self) -> tuple[float, ...]:
        end = self.config.tokenizer
        return (end / 2, end) if self.config.pixels else (end,)

    @property
    def joint(self) -> bool:
        """Whether pixels reach the encoder."""
        return self.config.pixels > 0 and self.stage >= 1

    def posterior(self, f: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of features; what is without a bottleneck is not random."""
        if not self.config.bottleneck:
            return f, None
        mean, logvar = at_least_single(self.compress(f)).chunk(2, 1)
        return mean, logvar.clamp(-30, 20)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.posterior(self.encoder.places(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def tokenizer_loss(self, x: Tensor) -> dict[str, Tensor]:
        c, frozen, joint = self.config, self.features(x), self.joint
        f = self.encoder.places(x) if joint else frozen
        z, logvar = self.posterior(f)
        loss, again, kl = z.new_zeros(()), z, z.new_zeros(())
        if logvar is not None:
            kl = kl_to_standard_normal(z.flatten(1), logvar.flatten(1)).mean()
            z = z + (0.5 * logvar).exp() * torch.randn_like(z)
            loss, again = loss + c.kl * kl, self.expand(z)
        lost = semantic(again, frozen) if c.bottleneck or joint else kl
        loss = loss + (c.semantics if joint else 1.0) * lost
        pixels = (x - self.decode(z if joint else z.detach())).abs().flatten(1).sum(1).mean()
        loss = loss + (c.pixels if joint else 1.0) * pixels
        return {"loss": loss, "pixels": pixels.detach(), "semantics": lost.detach(), "kl": kl.detach()}
