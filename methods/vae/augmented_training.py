"""Augmented training: a variational autoencoder that learns from its own variants of the images too (Chou and Hathi 2019).

    L = [l_beta(x) + lambda l_beta(x')] / (1 + lambda),   x' = D(mu(x)) of the present model,
    l_beta(x) = -E_q(z|x)[log p(x|z)] + beta KL(q(z|x) || N(0, I))

A variant is both input and target, and no gradient goes through its making. It is made anew for each batch once ``warmup`` of the training
is over: earlier ones are blurs. lambda = 0 is the plain autoencoder. ``variants=copies`` has x' = x, with noise of its own: a plain
autoencoder of as many passes an update. Steps and real images are those of plain training.

Differences from the paper: it augments whole epochs, by a share of variants that is not verified; its companion (Chou 2019) leaves open
whether the target is the variant or the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.vae.reencoding import Reencoding

CARD = MethodCard(
    name="augmented-training",
    title="VAEs that learn from their own variants too",
    family="vae",
    home="reencoding/mnist",
    paper="048",
    cite="Chou and Hathi 2019",
    splits=True,
    defaults="convention",
)


class AugmentedTraining(Reencoding):
    """Trained on images and on what it makes of them."""

    @dataclass(kw_only=True)
    class Config(Reencoding.Config):
        weight: NonNegative = 1.0  # lambda; not verified: as many variants as images
        warmup: float = 0.2  # share of training without variants; not verified
        variants: Literal["decoded", "copies"] = "decoded"

    def variants(self, x: Tensor) -> Tensor:
        """``(G, B, *shape)``, constants."""
        if self.config.variants == "copies":
            return x.expand(len(self.betas), *x.shape)
        with torch.no_grad():
            return self.decode(self.posteriors(x)[0])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, weight = batch["x"], self.config.weight if self.progress >= self.config.warmup else 0.0
        objectives, curves = self.objectives(x)
        if weight == 0.0:
            return {"loss": objectives.mean(1).sum(), **curves}
        of_variants, _ = self.objectives(self.variants(x))
        mixed = (objectives + weight * of_variants) / (1 + weight)
        return {"loss": mixed.mean(1).sum(), **curves, "variants": of_variants.mean()}
