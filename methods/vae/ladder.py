"""Hierarchies of codes that are drawn from the top down, as in the VD-VAE (Child 2021), in fully connected layers.

    p(z) = prod_l p(z_l | h_l),   h_1 = a constant,   h_(l+1) = h_l + f_l(h_l, z_l),   p(x|z) by a linear layer of the last h

Each group's Gaussians are heads on the state h_l: of the prior, of q(z_l | z_<l, x) with features of the image beside it, and of whatever
else is to draw codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elboard.bench.options import Count
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.posteriors import DiagonalGaussian, Draw, Gaussian, GaussianLayers
from elboard.methods.vae.base import Autoencoding

LOGVAR = (-8.0, 4.0)  # of q and of what is drawn to it: at a nearly certain q the divergence has no bound
Choice = Callable[[int, Tensor], Gaussian]


class Descent(NamedTuple):
    """What came of drawing all groups.

    Attributes:
        state: the last one, ``(n, width)``.
        kl: KL of what drew the codes to what it was compared with, summed over groups, ``(n,)``.
        log_ratio: log p(z) - log q(z) of the codes, ``(n,)``, of that against which.
    """

    state: Tensor
    kl: Tensor
    log_ratio: Tensor


class Hierarchy(nn.Module):
    """The generative path without the likelihood; with ``priors`` or, where something else draws codes, without."""

    def __init__(self, groups: int, latent_dim: int, width: int, priors: bool):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.updates = nn.ModuleList(nn.Sequential(nn.Linear(width + latent_dim, width), nn.Tanh()) for _ in range(groups))
        self.priors = nn.ModuleList(DiagonalGaussian(width, latent_dim) for _ in range(groups)) if priors else None
        self.n_features = width

    def prior(self, i: int, state: Tensor) -> Gaussian:
        return self.priors[i](state)

    def descend(self, n: int, choose: Choice, against: Choice) -> Descent:
        """Draw n codes of all groups by ``choose``."""
        state, kl, ratio = self.start.expand(n, -1), self.start.new_zeros(n), self.start.new_zeros(n)
        for i, update in enumerate(self.updates):
            q, p = choose(i, state), against(i, state)
            draw = q.sample()
            kl = kl + kl_diagonal(q.mean, q.logvar, p.mean, p.logvar)
            noise = (draw.z - p.mean) * torch.exp(-0.5 * p.logvar)
            ratio = ratio + p.log_prob(Draw(draw.z, noise)) - q.log_prob(draw)
            state = state + update(torch.cat([state, draw.z], dim=1))
        return Descent(state, kl, ratio)


class Heads(nn.ModuleList):
    """A Gaussian for each group, of the state and ``n_features`` features."""

    def __init__(self, groups: int, latent_dim: int, width: int, n_features: int):
        super().__init__(GaussianLayers(width + n_features, [width], latent_dim, LOGVAR) for _ in range(groups))

    def given(self, features: Tensor) -> Choice:
        """What draws codes given ``features`` (n, n_features)."""
        return lambda i, state: self[i](torch.cat([state, features], dim=1))


class Ladder(Autoencoding):
    """Encoder, heads of q, hierarchy and output; ``decoder`` is the hierarchy."""

    priors = True

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        groups: Count = 3
        latent_dim: int = 16  # of each group
        width: Count = 128  # of the state

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        return Heads(c.groups, c.latent_dim, c.width, n_features)

    def make_decoder(self) -> nn.Module:
        c = self.config
        return Hierarchy(c.groups, c.latent_dim, c.width, self.priors)

    def q(self, x: Tensor) -> Choice:
        """q(z_l | z_<l, x) of images."""
        return self.posterior.given(self.encoder(x))

    def log_likelihood(self, x: Tensor, state: Tensor) -> Tensor:
        """log p(x|z), ``(n,)``, by the last state."""
        return self.likelihood.log_prob(x.flatten(1), self.out(state))

    def image(self, state: Tensor) -> Tensor:
        """Means of pixels, ``(n, *shape)``."""
        return self.likelihood.mean(self.out(state)).unflatten(-1, self.spec.shape)
