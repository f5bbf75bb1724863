"""Variational autoencoders of real vectors alone, whose decoder is a Gaussian with one variance for all dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.kinds.codes import GaussianNoise
from elboard.bench.kinds.likelihood import RealLikelihood
from elboard.methods.vae.base import GaussianVAE


class RealVAE(GaussianVAE, RealLikelihood, GaussianNoise):
    """Its likelihood has ``log_std``, the logarithm of the deviation."""

    def noise_variance(self) -> Tensor:
        return torch.exp(2 * self.likelihood.log_std.detach())
