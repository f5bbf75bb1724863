"""Discrete posteriors q(z|x), their uniform prior, and their relaxations, in the form of :mod:`elboard.methods.parts.posteriors`.

``spread(w)`` is ``w_i^T Cov_q[z] w_i`` for each row of w: the variance that codes give to a linear function of theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.parts.priors import Prior

TINY = 1e-6  # keeps logarithms of uniform noise finite


@dataclass(frozen=True)
class Bits:
    """Independent Bernoulli units with ``logits`` (B, Z)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def logvar(self) -> Tensor:
        """log p (1 - p)."""
        return F.logsigmoid(self.logits) + F.logsigmoid(-self.logits)

    def sample(self, k: int = 0) -> Draw:
        p = self.mean.detach()
        z = torch.bernoulli(p[:, None].expand(-1, k, -1) if k else p)
        return Draw(z, z)

    def relaxed(self, temperature: float) -> Tensor:
        """Binary concrete (Maddison, Mnih and Teh 2017): sigmoid((logit + logistic noise) / temperature), ``(B, Z)``."""
        u = torch.rand_like(self.logits).clamp(TINY, 1 - TINY)
        return ((self.logits + u.logit()) / temperature).sigmoid()

    def log_prob(self, draw: Draw) -> Tensor:
        logits = self.logits if draw.z.ndim == 2 else self.logits[:, None]
        return (draw.z * logits - F.softplus(logits)).sum(-1)

    def entropy(self) -> Tensor:
        return (F.softplus(self.logits) - self.mean * self.logits).sum(-1)

    def spread(self, w: Tensor) -> Tensor:
        """``(D, Z)`` -> ``(B, D)``: sum_j w_ij^2 p_j (1 - p_j)."""
        return self.logvar.exp() @ (w**2).T


@dataclass(frozen=True)
class OneHots:
    """Independent one-hot groups with ``logits`` (B, G, C); codes are flat, ``(B, G C)``."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1).flatten(1)

    @property
    def logvar(self) -> Tensor:
        """log p (1 - p) of each entry."""
        log_p = self.logits.log_softmax(-1)
        return (log_p + torch.log1p(-log_p.exp().clamp(max=1 - TINY))).flatten(1)

    def sample(self, k: int = 0) -> Draw:
        (b, groups, classes), p = self.logits.shape, self.logits.detach().softmax(-1)
        chosen = torch.multinomial(p.flatten(0, 1), max(1, k), replacement=True).view(b, groups, -1).transpose(1, 2)
        z = F.one_hot(chosen, classes).to(p.dtype).flatten(2)
        z = z if k else z[:, 0]
        return Draw(z, z)

    def relaxed(self, temperature: float) -> Tensor:
        """Gumbel-softmax (Jang, Gu and Poole 2017), ``(B, G C)``."""
        gumbel = -torch.log(-torch.log(torch.rand_like(self.logits).clamp(TINY, 1 - TINY)))
        return ((self.logits + gumbel) / temperature).softmax(-1).flatten(1)

    def log_prob(self, draw: Draw) -> Tensor:
        log_p = self.logits.log_softmax(-1).flatten(1)
        return (draw.z * (log_p if draw.z.ndim == 2 else log_p[:, None])).sum(-1)

    def entropy(self) -> Tensor:
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum((1, 2))

    def spread(self, w: Tensor) -> Tensor:
        """``(D, G C)`` -> ``(B, D)``: sum_g [sum_c p_c w_ic^2 - (sum_c p_c w_ic)^2]; entries of a group are negatively correlated."""
        groups = w.unflatten(1, self.logits.shape[1:])
        inner = torch.einsum("bgc,dgc->bgd", self.logits.softmax(-1), groups)
        return self.mean @ (w**2).T - inner.square().sum(1)


class DiscretePosterior(nn.Linear):
    """Logits as linear functions of the features ``(B, n_features)``: of bits, or with ``classes`` of groups of that many."""

    def __init__(self, n_features: int, latent_dim: int, classes: int = 0):
        super().__init__(n_features, latent_dim)
        self.classes = classes

    def forward(self, features: Tensor) -> Bits | OneHots:
        logits = super().forward(features)
        return OneHots(logits.unflatten(1, (-1, self.classes))) if self.classes else Bits(logits)


class Uniform(Prior):
    """All codes alike: 1/2 for each bit, or 1/classes for each entry of a group."""

    def __init__(self, latent_dim: int, classes: int = 0):
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.log_mass = -(latent_dim // classes) * math.log(classes) if classes else -latent_dim * math.log(2)

    def sample(self, n: int, like: Tensor) -> Tensor:
        logits = torch.zeros(n, self.latent_dim, device=like.device)
        return (OneHots(logits.unflatten(1, (-1, self.classes))) if self.classes else Bits(logits)).sample().z

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_full(z.shape[:-1], self.log_mass)

    def divergence(self, q: Any, draw: Draw) -> Tensor:
        """log of the number of codes - H(q)."""
        return -self.log_mass - q.entropy()


def spread(q: Gaussian | Bits | OneHots, w: Tensor) -> Tensor:
    """``w_i^T Cov_q[z] w_i`` for the rows of w, ``(D, Z)`` -> ``(B, D)``."""
    return q.logvar.exp() @ (w**2).T if isinstance(q, Gaussian) else q.spread(w)


def log_density(q: Gaussian | Bits | OneHots, z: Tensor) -> Tensor:
    """log q(z|x) of given codes ``(B, k, Z)`` as a function of the parameters of q, ``(B, k)``."""
    noise = (z - q.mean[:, None]) * torch.exp(-0.5 * q.logvar)[:, None] if isinstance(q, Gaussian) else z
    return q.log_prob(Draw(z, noise))
