"""Reconstruction error of a variational autoencoder as score of anomalies (An and Cho 2015, without draws of z).

    minimise over normal images  E_q(z|x)[-log p(x|z)] + beta KL(q(z|x) || N(0, I));   score(x) = |x - x^|^2

The model never saw an anomaly, so it gives something normal in its place. Images that are labelled as anomalies count nothing in training,
unless ``normal_only`` is false. ``score=max`` is the largest difference of a pixel, which a small anomaly moves as much as a large one.

Differences from the paper: the error of decoding the mean in the place of the mean log-likelihood of draws of z; the network of the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.vae.detecting import ImageVAE, Reconstructing

CARD = MethodCard(
    name="vae-anomaly",
    title="Reconstruction error of a VAE",
    family="vae",
    home="anomaly/streets",
    cite="An and Cho 2015",
    defaults="convention",
)


class VAEAnomaly(ImageVAE, Reconstructing):
    """Trained on the bound of normal images."""

    @dataclass(kw_only=True)
    class Config(ImageVAE.Config):
        beta: NonNegative = 1.0
        score: Literal["sum", "max"] = "sum"
        normal_only: bool = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = self.terms(batch["x"], batch["x"].new_zeros(self.config.latent_dim))
        counts = 1.0 - batch["y"].float() if self.config.normal_only else torch.ones_like(terms["kl"])
        mean = {name: (counts * terms[name]).sum() / counts.sum().clamp(min=1) for name in ("reconstruction", "kl")}
        return {"loss": mean["reconstruction"] + self.config.beta * mean["kl"], **mean}
