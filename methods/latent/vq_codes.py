"""Tokens by the nearest entries of codebooks, with counted latents as the prior (van den Oord, Vinyals and Kavukcuoglu 2017).

    z_e = f(x),   z_l = argmin_k |z_e,l - e_l,k|;    L = -log p(x|z) + sum_l |sg[z_e,l] - e_l|^2 + beta sum_l |z_e,l - sg[e_l]|^2    (eq. 3)
    p(z) = (n_z + 1) / (N + S),   n_z how many of N training examples have the latent z, counted at the end of each epoch

sg stops gradients; the likelihood's passes from the decoder's input straight to the encoder's output. What is taken for the posterior is
the nearest latent alone. Decoder and embeddings are those of the other methods of latents; ``vq-vae`` is the autoencoder for
images, whose likelihood is not known.

Differences from the paper: a codebook for each position; counts, smoothed by one, in the place of the PixelCNN; eq. 3 with sums over
positions. The paper of GFlowNet-EM does not say how it counts latents of its baseline (not verified).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compositional import CompositionalSpec
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch, Data
from elboard.methods.latent.base import TokenModel
from elboard.methods.latent.models import Tokens, numbers
from elboard.methods.latent.policies import mlp

CARD = MethodCard(
    name="vq-codes",
    title="Vector-quantised tokens with counted latents",
    family="latent",
    home="latent/digits",
    cite="van den Oord, Vinyals and Kavukcuoglu 2017",
    defaults="convention",
)


class VQCodes(TokenModel):
    """See the module."""

    model: Tokens

    @dataclass(kw_only=True)
    class Config(TokenModel.Config):
        commitment: NonNegative = 0.25  # beta; section 3.2

    def __init__(self, config: Any, spec: CompositionalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.model.prior.requires_grad_(False)
        self.encoder = mlp(*spec.shape, config.width, len(spec.choices) * config.code_dim)
        torch.nn.init.xavier_uniform_(self.encoder[-1].weight)

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        self.__dict__["shown"] = data.train["x"]

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z_e ``(B, L, code_dim)``, and the nearest z ``(B, L)``."""
        e = self.encoder(x).unflatten(1, (len(self.spec.choices), -1))
        distances = (e[:, :, None] - self.model.embeddings).square().sum(3)
        for part, k in enumerate(self.spec.choices):
            distances[:, part, k:] = float("inf")
        return e, distances.argmin(2)

    def posterior(self, x: Tensor) -> Tensor:
        number = numbers(self.encoded(x)[1], self.spec.choices)
        return F.one_hot(number, len(self.model.prior)).to(x)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        e, z = self.encoded(x)
        q = self.model.embedded(z)
        logits = self.model.decoder((e + (q - e).detach()).flatten(1))
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
        moved = (q - e.detach()).square().sum((1, 2)).mean()
        commitment = (e - q.detach()).square().sum((1, 2)).mean()
        return {"loss": distortion + moved + self.config.commitment * commitment, "distortion": distortion.detach()}

    def before_validation(self) -> None:
        """Count the latents of the training examples."""
        with torch.no_grad():
            shown = self.shown.to(self.model.prior.device)
            counts = torch.bincount(numbers(self.encoded(shown)[1], self.spec.choices), minlength=len(self.model.prior))
            self.model.prior.copy_(((counts + 1) / (len(shown) + len(counts))).log())
