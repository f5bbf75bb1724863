"""Priors p(z) of codes, in nats."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.posteriors import Draw, Gaussian


class Prior(nn.Module):
    """A prior gives ``sample`` and ``log_prob``; what it has in closed form it overrides.

    ``q`` is a posterior's distribution (:mod:`elboard.methods.parts.posteriors`) and ``draw`` samples of it.
    """

    def sample(self, n: int, like: Tensor) -> Tensor:
        """``(n, Z)``, on the device of ``like``."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """``(..., Z)`` -> ``(...)``."""
        raise NotImplementedError

    def log_ratio(self, q: Any, draw: Draw) -> Tensor:
        """log p(z) - log q(z|x) of each sample, ``(B,)`` or ``(B, k)``."""
        return self.log_prob(draw.z) - q.log_prob(draw)

    def divergence(self, q: Any, draw: Draw) -> Tensor:
        """KL(q(z|x) || p(z)), ``(B,)``; by the one sample ``draw`` where there is no closed form."""
        return -self.log_ratio(q, draw)


class StandardNormal(Prior):
    """N(0, I) in Z dimensions."""

    def __init__(self, latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim

    def sample(self, n: int, like: Tensor) -> Tensor:
        return torch.randn(n, self.latent_dim, device=like.device)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)

    def log_ratio(self, q: Any, draw: Draw) -> Tensor:
        if not isinstance(q, Gaussian):
            return super().log_ratio(q, draw)
        log_det = q.logvar.sum(-1) if draw.z.ndim == 2 else q.logvar.sum(-1, keepdim=True)
        return 0.5 * (draw.noise**2 - draw.z**2).sum(-1) + 0.5 * log_det  # the normalising constants cancel

    def divergence(self, q: Any, draw: Draw) -> Tensor:
        return kl_to_standard_normal(q.mean, q.logvar) if isinstance(q, Gaussian) else super().divergence(q, draw)
