"""What detectors of anomalies that reconstruct share: a normal image is given back, and what is not is the anomaly.

    map(p) = |x(p) - x^(p)|, mean over channels;   score = sum_p,c (x - x^)^2   or   max_p map(p)

with x^ decoded from the mean of q(z|x). Images have values in [0, 1] and a Gaussian likelihood with one learned variance, the bound is that
of the family. Labels of training images are 1 for anomalies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.kinds.anomaly import AnomalyMap
from elboard.bench.kinds.representation import Encoder, Reconstructor
from elboard.bench.method import Bases
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.posteriors import DiagonalGaussian
from elboard.methods.vae.base import Autoencoding


def difference(x: Tensor, copy: Tensor) -> Tensor:
    """``|x - x^|`` of images ``(B, C, H, W)``, mean over channels, ``(B, H, W)``."""
    return (x - copy).abs().mean(1)


def quieten(posterior: DiagonalGaussian) -> None:
    """Let codes start with little noise, a variance of exp(-4): with one of 1 a short run leaves no code."""
    with torch.no_grad():
        posterior.bias[len(posterior.bias) // 2 :] = -4.0


class ImageVAE(Autoencoding, Reconstructor, Encoder):
    """An autoencoder of images with the bound of one sample; subclasses give the objective."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 16

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        quieten(self.posterior)

    def prepare(self, data: Data) -> None:
        """The noise of the likelihood starts at the spread of pixels around the mean image: from 1 a short run would not bring it down."""
        super().prepare(data)
        with torch.no_grad():
            self.likelihood.log_std.copy_((data.train["x"] - data.train["x"].mean(0)).std().clamp(min=1e-3).log())

    def seen(self, x: Tensor) -> Tensor:
        """What the encoder sees of images."""
        return x

    def terms(self, x: Tensor, centre: Tensor) -> dict[str, Tensor]:
        """``reconstruction`` and ``kl`` to N(centre, I), each ``(B,)``, of one sample of z, and the ``mean`` of q(z|x)."""
        q = self.posterior(self.encoder(self.seen(x)))
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(q.sample().z))
        return {"reconstruction": reconstruction, "kl": kl_diagonal(q.mean, q.logvar, centre, torch.zeros_like(centre)), "mean": q.mean}

    def represent(self, x: Tensor) -> Tensor:
        return self.posterior(self.encoder(self.seen(x))).mean

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.represent(x))


class Reconstructing(AnomalyMap, Reconstructor):
    """A mix-in: the map and the scores of reconstructions. ``config.score`` names the score."""

    def anomaly_map(self, x: Tensor) -> Tensor:
        return difference(x, self.reconstruct(x))

    def anomaly_score(self, x: Tensor) -> Tensor:
        copy = self.reconstruct(x)
        return difference(x, copy).amax((1, 2)) if self.config.score == "max" else (x - copy).square().sum((1, 2, 3))
