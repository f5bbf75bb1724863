"""IL-LIDVAE: an inverse Lipschitz constraint on the decoder (Kinoshita, Oono, Fukumizu, Yoshida and Maeda 2023).

    f(z) = grad G_2(B grad G_1(z)),      G_j(v) = ICNN_j(v) + (L / 2) |v|^2,     p(x|z) of natural parameters f(z)
    |f(z) - f(z')| >= L^2 sigma_min(B) |z - z'|

The gradient of a convex function plus L v is strongly monotone, so that no two codes have nearly the same output and the posterior cannot
collapse for large L; L = 0 is LIDVAE (Wang, Blei and Cunningham 2021). With s_0 = A_0 v + b_0 and s_1 = W_1 a(s_0)^2 + A_1 v + b_1 the
input-convex network is w_2 . a(s_1) + c . v, a = LeakyReLU(0.2), W_1, w_2 > 0, and its gradient

    A_0^T [2 a(s_0) a'(s_0) * W_1^T g] + A_1^T g + c,      g = a'(s_1) * w_2

is written out, which spares differentiating it twice. Encoder, bound and weight beta are those of the VAE; one model for each beta.

Differences from the paper: B has the leading principal axes of the training data as its columns, so that sigma_min(B) = 1 and what is
guaranteed lies where images vary (the zero padding of its main text would be the corner pixels of MNIST, always black). Widths are ours. L
is constant. Positive weights are exponentials, of W_1 of about one over its inputs and of w_2 of 1 at the start, so that slopes of f are of
order one and L = 0 does not start collapsed. Mixture priors and sequences are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.kinds.lipschitz import InverseLipschitz
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Data
from elboard.methods.vae.vae_grid import VAEGrid

CARD = MethodCard(
    name="il-lidvae",
    title="VAE with an inverse Lipschitz decoder",
    family="vae",
    home="collapse/bits",
    paper="008",
    cite="Kinoshita et al. 2023",
    splits=True,
    defaults="convention",
)
SLOPE = 0.2  # of LeakyReLU, as in the LIDVAE code


class ConvexGradient(nn.Module):
    """Gradients of G input-convex networks with a quadratic, ``(G, N, D)`` -> ``(G, N, D)``."""

    def __init__(self, models: int, dims: int, width: int, strength: float):
        super().__init__()
        self.strength, limit = strength, math.sqrt(6 / (dims + width))
        self.first = nn.Parameter(torch.empty(models, dims, width).uniform_(-limit, limit))  # A_0
        self.skip = nn.Parameter(torch.empty(models, dims, width).uniform_(-limit, limit))  # A_1
        self.first_bias, self.bias = (nn.Parameter(torch.zeros(models, 1, width)) for _ in range(2))
        self.log_inner = nn.Parameter(torch.full((models, width, width), -math.log(width)))  # W_1 of about one over the inputs
        self.log_outer = nn.Parameter(torch.zeros(models, 1, width))  # w_2
        self.constant = nn.Parameter(torch.zeros(models, 1, dims))  # c

    def forward(self, v: Tensor) -> Tensor:
        s0, inner = torch.baddbmm(self.first_bias, v, self.first), self.log_inner.exp()
        a0 = F.leaky_relu(s0, SLOPE)
        s1 = torch.baddbmm(self.bias, v, self.skip) + a0**2 @ inner
        g = _slope(s1) * self.log_outer.exp()
        hidden = 2 * a0 * _slope(s0) * (g @ inner.mT)
        return hidden @ self.first.mT + g @ self.skip.mT + self.constant + self.strength * v

    def potential(self, v: Tensor) -> Tensor:
        """The convex functions themselves, ``(G, N)``."""
        a0 = F.leaky_relu(torch.baddbmm(self.first_bias, v, self.first), SLOPE)
        a1 = F.leaky_relu(torch.baddbmm(self.bias, v, self.skip) + a0**2 @ self.log_inner.exp(), SLOPE)
        return (a1 * self.log_outer.exp()).sum(-1) + (self.constant * v).sum(-1) + 0.5 * self.strength * (v**2).sum(-1)


def _slope(s: Tensor) -> Tensor:
    return torch.where(s > 0, 1.0, SLOPE)


class Brenier(nn.Module):
    """f of G models, ``(G, N, Z)`` -> ``(G, N, D)``."""

    def __init__(self, models: int, latent: int, dims: int, width: int, strength: float):
        super().__init__()
        self.inner = ConvexGradient(models, latent, width, strength)
        self.outer = ConvexGradient(models, dims, width, strength)
        self.register_buffer("embedding", torch.eye(dims)[:, :latent].contiguous())  # B

    def forward(self, z: Tensor) -> Tensor:
        return self.outer(self.inner(z) @ self.embedding.T)


class ILLIDVAE(VAEGrid, InverseLipschitz):
    """Trained as the VAE is."""

    resting = True  # biases of second layers: slopes are constant where they have a derivative

    @dataclass(kw_only=True)
    class Config(VAEGrid.Config):
        latent_dim: int = 8  # not verified; at most the dimensions of the data
        strength: NonNegative = 1.0  # L of both maps; 0: LIDVAE
        width: Count = 128  # of both hidden layers of each convex network

    def __init__(self, config: Any, spec: BetaSpec, bases: Bases | None = None):
        pixels = math.prod(spec.shape)
        if config.latent_dim > pixels:
            raise UserError(f"latent_dim={config.latent_dim} is above the {pixels} of the data")
        super().__init__(config, spec, bases)
        self.decoder = Brenier(len(spec.betas), config.latent_dim, pixels, config.width, config.strength)
        self.bound = config.strength**2

    def prepare(self, data: Data) -> None:
        x = data.train["x"].flatten(1)
        axes = torch.linalg.eigh(torch.cov(x.T.double())).eigenvectors.flip(1)[:, : self.config.latent_dim]
        with torch.no_grad():
            self.decoder.embedding.copy_(axes)
            self.decoder.outer.constant.copy_(self.likelihood.initial_bias(x.mean(0)))

    def outputs(self, z: Tensor) -> Tensor:
        return self.decoder(z)
