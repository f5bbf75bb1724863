"""Latent diffusion without a VAE, SVG (Shi, Wang, Zheng et al. 2025): flow matching of frozen features, and of what these leave out.

    r = R(x),   r <- (r - m_R) / (s_R + 1e-6) s_F + m_F,   z = (F(x), r),   L = sum over pixels |x - D(z)|      (eq. 6), no KL

F is a frozen self-supervised encoder, R a small one of ``residual`` channels, D the decoder; R and D alone are trained. m is the mean of
the means of the channels, s the mean of their standard deviations over batch and places, and no gradient passes the four. ``mask``: share
of images whose residuals are all one learned vector in training, before they are matched. ``residual=0`` are the features alone, and
``match=false`` leaves residuals as R gives them (recipes ``features`` and ``unmatched``).

Where the released code takes m and s of the batch at all times, so that a code depends on what is encoded beside it, they are those of the
batch in training alone, and of all training images from then on.

Differences from the paper: an encoder by SimCLR in the place of DINOv3 (``facebook/dinov3-vits16plus-pretrain-lvd1689m``), with 32 channels
and 4 x 4 places of 14 x 14 pixels; R is a convolutional network of 4 channels instead of a transformer of 8; D has neither a perceptual nor
an adversarial loss. Times are moved by s = sqrt(C / 16), 1.5 of 36 channels, in training as in sampling: the paper's 2.5 and 6.67 (0.4 and
0.15 where time runs from noise to data) are of 392 channels, of which that rule gives 4.95. Rates and length as of
:mod:`elboard.methods.latents.latent_vae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import NonNegative, Range, Share
from elboard.methods.latents.base import CHUNK, TINY, OnFeatures
from elboard.methods.parts.maps import MapCNN, MapDecoder

CARD = MethodCard(
    name="svg-diffusion",
    title="Flow matching of frozen features with a residual (SVG)",
    family="latents",
    home="latents/fashion14",
    paper="107",
    cite="Shi, Wang, Zheng et al. 2025",
    bases={"encoder": {"method": "simclr", "task": "selfsup/fashion14", "seed": 0}},
    defaults="convention",
    recipes={"features": {"set": {"residual": 0}}, "unmatched": {"set": {"match": False}}},
)


class Level(NamedTuple):
    """Mean of the means of the channels, and mean of their standard deviations."""

    mean: Tensor
    spread: Tensor


def level(z: Tensor) -> Level:
    """Of maps (B, C, h, w), without gradient, in single precision or what is finer."""
    flat = at_least_single(z.detach()).transpose(0, 1).flatten(1)
    return Level(flat.mean(), flat.std(1, correction=0).mean())


def matched(r: Tensor, of: Level, to: Level) -> Tensor:
    """Residuals of the level ``of`` at the level ``to`` (eq. 6)."""
    return (r - of.mean) / (of.spread + TINY) * to.spread + to.mean


class SVGDiffusion(OnFeatures):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(OnFeatures.Config):
        residual: Annotated[int, Range(0)] = 4  # channels
        match: bool = True
        mask: Share = 0.1  # of the paper
        shift: NonNegative = 0.0

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        channels = self.base.backbone.n_features + config.residual
        self.decoder = MapDecoder(spec.shape, channels)
        self.generate_in(channels, self.base.backbone.grid)
        self.register_buffer("levels", torch.tensor([0.0, 1.0, 0.0, 1.0]))  # of residuals, and of features
        if config.residual:
            self.residual = MapCNN(spec.shape, config.residual)
            self.masked = nn.Parameter(0.02 * torch.randn(config.residual, 1, 1))

    def encoded(self, x: Tensor) -> tuple[Tensor, None]:
        f = self.features(x)
        if not self.config.residual:
            return f, None
        r = self.residual.places(x)
        if self.config.match:
            r = matched(r, Level(*self.levels[:2]), Level(*self.levels[2:]))
        return torch.cat([f, r], 1), None

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def with_masks(self, r: Tensor) -> Tensor:
        """Residuals (B, c, h, w), for some images the learned vector at all places."""
        hidden = torch.rand(len(r), 1, 1, 1, device=r.device) < self.config.mask
        return torch.where(hidden, self.masked, r)

    def tokenizer_loss(self, x: Tensor) -> dict[str, Tensor]:
        z = f = self.features(x)
        if self.config.residual:
            r = self.with_masks(self.residual.places(x))
            z = torch.cat([f, matched(r, level(r), level(f)) if self.config.match else r], 1)
        pixels = (x - self.decode(z)).abs()
        return {"loss": pixels.flatten(1).sum(1).mean(), "pixels": pixels.mean().detach()}

    @torch.no_grad()
    def find_levels(self) -> None:
        """Those of all training images."""
        if not (self.config.residual and self.config.match):
            return
        parts = [part.to(self.centre) for part in self.shown.split(CHUNK)]
        maps = [torch.cat([of(part) for part in parts]) for of in (self.residual.places, self.features)]
        self.levels.copy_(torch.stack([value for of in maps for value in level(of)]))

    def before_validation(self) -> None:
        if not self.settled:
            self.find_levels()

    def settle(self) -> None:
        self.find_levels()
        super().settle()
