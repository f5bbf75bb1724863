"""Fine-tuning of a KL-VAE's decoder alone: VIVAT's remedy against a shift of colours (Novitskiy et al. 2025).

    minimise over the decoder  |x - x'|_1 + l_p d(x, x'),   x' = dec(mu + sigma eps),  mu, sigma of the encoder as it is

Codes stay what they are, bit for bit, so that a diffusion model of them stays valid. It starts from the run ``model`` with a constant
``tint`` added to the decoder's output, an offset of known size in the place of one that a long training happens to leave.

Differences from the paper: the tint; the weights of the losses are those of the run that is started from, without its adversary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.artefacts import ImageAutoencoder
from elboard.bench.method import Bases, Method
from elboard.bench.options import Range
from elboard.bench.task import Batch, DataSpec

CARD = MethodCard(
    name="decoder-tuning",
    title="Fine-tuning of a tinted decoder",
    family="vae",
    home="artefacts/shapes",
    paper="072",
    cite="Novitskiy et al. 2025",
    bases={"model": {"method": "vivat"}},
    splits=True,
    defaults="convention",
)


class DecoderTuning(Method, ImageAutoencoder):
    """Trains a copy of the decoder."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        tint: list[Annotated[float, Range(-1, 1)]] = field(default_factory=lambda: [0.1, 0.0, -0.1])  # of the channels, in [0, 1]

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if len(config.tint) != spec.shape[0]:
            raise UserError(f"tint={config.tint} is of {len(config.tint)} channels, and images have {spec.shape[0]}")
        super().__init__(config, spec, bases)
        self.encoder, self.decoder = copy.deepcopy(self.base.encoder), copy.deepcopy(self.base.decoder)
        self.distance = copy.deepcopy(self.base.distance)
        self.encoder.requires_grad_(False)
        with torch.no_grad():
            self.decoder.out.bias += torch.tensor(config.tint, device=self.decoder.out.bias.device)

    def latent(self, x: Tensor) -> Tensor:
        return self.encoder(x)[0]

    def decoded(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.decoder(z)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        mean, logvar = self.encoder(x)
        y, _ = self.decoder(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        error, distance = F.l1_loss(y, x), self.distance(x, y)
        return {"loss": error + self.base.config.perceptual * distance, "error": error, "distance": distance}
