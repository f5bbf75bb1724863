"""VAE-GAN that flags images by the largest difference from their reconstruction (Rashid, Amparore, Ferrari and Verda 2024).

    L_llike = |x - x^|^2 / (2 noise^2);   all else is the step of Larsen et al. 2016 (``vae-gan``), with gamma = 1
    map(p) = |x(p) - x^(p)|, mean over channels;   score = max_p map(p);   error = sum_p,c (x - x^)^2

Trained on normal images alone: those that are labelled as anomalies count nothing. The ``error`` is what explanations explain, as in the
paper's repository: another function than the score.

Differences from the paper's repository: squared errors with a noise of 0.1 in the place of the cross-entropy of pixels, whose curvature,
1/(p(1-p)), weighs errors a tenth as much; Larsen's three objectives in the place of its balance of the discriminator's loss; a dense
discriminator; the network of the board, without batch normalisation. The weight of the KL rises over the first half of a run, which is
short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Positive, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.likelihoods import Bernoulli
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.detecting import Reconstructing, quieten
from elboard.methods.vae.vae_gan import Adversarial

CARD = MethodCard(
    name="vae-gan-anomaly",
    title="Reconstruction difference of a VAE-GAN",
    family="vae",
    home="anomaly/tiles",
    paper="077",
    cite="Rashid et al. 2024",
    defaults={"trials": 6, "on": "anomaly/tiles", "by": "auroc", "options": ("latent_dim", "noise", "gamma"), "rest": "convention"},
)


class VAEGANAnomaly(Adversarial, Reconstructing):
    """Measured by pixels, and told real from fake by a discriminator."""

    @dataclass(kw_only=True)
    class Config(Adversarial.Config):
        latent_dim: int = 16  # the repository's 32 and 64 were tried too
        gamma: float = 1.0
        score: Literal["sum", "max"] = "max"
        noise: Positive = 0.1  # of pixels
        kl_warmup: Share = 0.5  # share of training over which the KL's weight rises from 0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        quieten(self.posterior)

    def encoder_loss(self, x: Tensor, z: Tensor, kl: Tensor) -> dict[str, Tensor]:
        """With the KL's weight, which the ``kl`` of curves does not have."""
        return super().encoder_loss(x, z, ramp(self.progress, self.config.kl_warmup) * kl) | {"kl": kl.mean()}

    def make_likelihood(self) -> nn.Module:
        """Of which the mean counts alone, in [0, 1]."""
        return Bernoulli()

    def unlikeness(self, x: Tensor, fake: Tensor) -> Tensor:
        return (x - fake).square().sum(1).mean() / (2 * self.config.noise**2)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        normal = batch["y"] == 0
        return super().loss({"x": batch["x"][normal] if normal.any() else batch["x"]})
