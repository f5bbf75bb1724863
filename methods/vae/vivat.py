"""KL-VAE, the autoencoder of latent diffusion models, with VIVAT's remedies as options (Novitskiy et al. 2025).

    L = |x - x'|_1 + l_p d(x, x') + l_KL KL(N(mu, sigma^2) || N(0, I)) - l_adv D(x'),     x' = dec(mu + sigma eps)
    L_D = 1/2 [ relu(1 - D(x)) + relu(1 + D(x')) ]

|.|_1 is a mean over pixels, the KL a sum over the code's elements and a mean over images, D a logit for each patch: a given l_KL weighs
more here than where errors of pixels are summed. The paper's artefacts
and what is against them: blur (l_KL down, l_adv up), a grid (l_adv down), spoilt corners (``padding`` reflect), droplets (``norm`` scn,
whose scale and shift follow the code), a colour shift (:mod:`elboard.methods.vae.decoder_tuning`). The defaults are the baseline: zero
padding, group normalisation, l_KL = 1e-6 as in latent diffusion; here without the adversary, so that each remedy can be changed alone.

Differences from the paper, of which abstract, opening and summaries alone could be read: its loss weights, padding and data were not.
Reflection is that of a model card that follows it; d are fixed random features instead of LPIPS, with l_p = 0.1, which was 1 at first
and was not searched; the adversary has no adaptive weight, which would hide what l_adv does; three levels of 16 to
32 channels for images of 32 x 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.kinds.artefacts import ImageAutoencoder
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.spatial import PatchDiscriminator, RandomFeatures, SpatialDecoder, SpatialEncoder, hinge

CARD = MethodCard(
    name="vivat",
    title="KL-VAE with VIVAT's remedies",
    family="vae",
    home="artefacts/shapes",
    paper="072",
    cite="Novitskiy et al. 2025",
    splits=True,
    defaults="convention",
)


class VIVAT(Method, ImageAutoencoder):
    """Trained on reconstruction, features, divergence and adversary."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        widths: list[Count] = field(default_factory=lambda: [16, 16, 32])
        code: Count = 4  # channels
        kl: NonNegative = 1e-6  # l_KL, the number of latent diffusion
        perceptual: NonNegative = 0.1  # l_p; 1 in latent diffusion, of LPIPS
        adversarial: NonNegative = 0.0  # l_adv; 0.5 in latent diffusion
        start: Share = 0.25  # share of training after which there is an adversary
        padding: Literal["zeros", "reflect", "replicate"] = "zeros"
        norm: Literal["group", "scn"] = "group"  # of the decoder; or scn

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, channels = config, spec.shape[0]
        self.encoder = SpatialEncoder(channels, c.widths, c.code, c.padding)
        self.decoder = SpatialDecoder(channels, c.widths, c.code, c.padding, c.norm)
        self.distance = RandomFeatures(channels)
        self.discriminator = PatchDiscriminator(channels) if c.adversarial > 0 else None

    def latent(self, x: Tensor) -> Tensor:
        return self.encoder(x)[0]

    def decoded(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.decoder(z)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"]
        mean, logvar = self.encoder(x)
        y, _ = self.decoder(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        error, distance = F.l1_loss(y, x), self.distance(x, y)
        kl = kl_to_standard_normal(mean.flatten(1), logvar.flatten(1)).mean()
        out = {"loss": error + c.perceptual * distance + c.kl * kl, "error": error, "distance": distance, "kl": kl}
        if self.discriminator is None or self.progress < c.start:
            return out
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = -functional_call(self.discriminator, fixed, (y,)).mean()
        own = hinge(self.discriminator(x), self.discriminator(y.detach()))
        return {**out, "loss": out["loss"] + c.adversarial * fooled + own, "fooled": fooled, "discriminator": own}
