"""Flow matching in the latents of a variational autoencoder with places (Rombach et al. 2022; Ma et al. 2024, SiT).

    q(z|x) = N(mu(x), sigma(x)^2),   L = mean over pixels |x - D(z)| + kl KL(q || N(0, I)),   then flow matching of z

The KL is a sum over all latents. It is what tokenizers of the family are compared with; :mod:`elboard.methods.latents.base` is the rest.

Differences from the papers: neither a perceptual nor an adversarial loss, so that errors of pixels alone are what is compared; the weight
of the KL is 1e-4 on a mean over pixels, as 1e-6 on their sum does nothing in some hundreds of steps; one rate of 1e-3 with a cosine in
each stage, since training is a hundredth as long; latents of 14 x 14 pixels have 4 x 4 places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, NonNegative
from elboard.methods.latents.base import LatentFlow
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.maps import MapCNN, MapDecoder

CARD = MethodCard(
    name="latent-vae-flow",
    title="Flow matching in latents of a VAE",
    family="latents",
    home="latents/fashion14",
    cite="Rombach et al. 2022; Ma et al. 2024",
    defaults="convention",
)


class Autoencoding(LatentFlow):
    """A convolutional encoder to mean and log-variance, and a decoder."""

    @dataclass(kw_only=True)
    class Config(LatentFlow.Config):
        channels: Count = 4  # as Stable Diffusion's
        kl: NonNegative = 1e-4

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoder = MapCNN(spec.shape, 2 * config.channels)
        self.decoder = MapDecoder(spec.shape, config.channels)
        self.generate_in(config.channels, self.encoder.grid)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = at_least_single(self.encoder.places(x)).chunk(2, 1)
        return mean, logvar.clamp(-30, 20)  # as latent diffusion has it

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def vae_terms(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The loss of a plain VAE, and the drawn latents that it is of."""
        mean, logvar = self.encoded(x)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        pixels = (x - self.decode(z)).abs().mean()
        kl = kl_to_standard_normal(mean.flatten(1), logvar.flatten(1)).mean()
        return {"loss": pixels + self.config.kl * kl, "pixels": pixels.detach(), "kl": kl.detach()}, z

    def tokenizer_loss(self, x: Tensor) -> dict[str, Tensor]:
        return self.vae_terms(x)[0]


class LatentVAEFlow(Autoencoding):
    """See the module."""
