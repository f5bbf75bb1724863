"""What a chain of images consists of: deterministic transforms, the VAE of the last image, and for each other image a conditional VAE."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.task import DataSpec
from elboard.methods.parts.likelihoods import DiscretisedLogistic
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian, Gaussian
from elboard.methods.vae.base import GaussianVAE
from elboard.methods.vae.flow_prior import FlowPrior

SMALL, EDGE = 7.0, 0.02  # largest absolute log-variance (released code); how far from 0 and 1 the levels stay whose logit is taken


def downscale(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def sketch(x: Tensor) -> Tensor:
    """Length of Sobel's gradient of the mean of the channels, in steps of the image's range, at most 1."""
    kernel = x.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]) / 4
    slopes = F.conv2d(F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])
    return slopes.square().sum(1, keepdim=True).sqrt().clamp(max=1.0)


TRANSFORMS = {"downscale": downscale, "sketch": sketch}


class Clamped(DiagonalGaussian):
    """With log-variances that no flow can drive away."""

    def forward(self, features: Tensor) -> Gaussian:
        q = super().forward(features)
        return Gaussian(q.mean, q.logvar.clamp(-SMALL, SMALL))


class Top(GaussianVAE):
    """The VAE of the last image of the chain, whose parts are used."""

    def __init__(self, config: Any, spec: DataSpec):
        super().__init__(config, spec)
        if config.prior == "flow":
            self.prior = FlowPrior(config.latent_dim, config.couplings, config.hidden)

    def make_posterior(self, n_features: int) -> nn.Module:
        return Clamped(n_features, self.config.latent_dim)


class Level(nn.Module):
    """q(z | below), p(z | y, above) and p(below | y, z) of an image ``below`` and its transform y, both of given shapes."""

    def __init__(self, config: Any, below: tuple[int, ...], y: tuple[int, ...], levels: int, skip: bool):
        super().__init__()
        (d, small), z, hidden = (math.prod(below), math.prod(y)), config.latent_dim, config.hidden
        self.below, self.skip = below, skip
        self.encoder, self.posterior = MLP([d, *hidden], config.activation), Clamped(hidden[-1], z)
        self.conditional, self.prior = MLP([small + z, *hidden], config.activation), Clamped(hidden[-1], z)
        self.decoder, self.out = MLP([small + z, *hidden], config.activation), nn.Linear(hidden[-1], d)
        self.likelihood = DiscretisedLogistic(d, levels)

    def code(self, y: Tensor, above: Tensor) -> Gaussian:
        """p(z | y, above) of ``(B, *shape)`` and ``(B, k, Z)``: mean and log-variance ``(B, k, Z)``."""
        p = self.prior(self.conditional(_rows(y, above)))
        return Gaussian(p.mean.view_as(above), p.logvar.view_as(above))

    def output(self, y: Tensor, z: Tensor) -> Tensor:
        """Parameters of p(below | y, z), ``(B, k, D)``."""
        out = self.out(self.decoder(_rows(y, z))).unflatten(0, z.shape[:2])
        if not self.skip:
            return out
        large = F.interpolate(y, self.below[1:], mode="bilinear", align_corners=False)
        return out + large.clamp(EDGE, 1 - EDGE).logit().flatten(1)[:, None]


def _rows(y: Tensor, codes: Tensor) -> Tensor:
    """Each image beside each of its codes, ``(B k, D + Z)``."""
    return torch.cat([y.flatten(1)[:, None].expand(-1, codes.shape[1], -1), codes], dim=-1).flatten(0, 1)


def log_density(p: Gaussian, z: Tensor) -> Tensor:
    """log p(z) of ``(B, k, Z)`` under Gaussians of as many means."""
    return -0.5 * ((z - p.mean).square() * torch.exp(-p.logvar) + p.logvar + math.log(2 * math.pi)).sum(-1)
