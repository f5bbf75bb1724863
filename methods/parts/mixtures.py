"""Mixtures of Gaussians with full covariances, fitted by expectation maximisation (Dempster, Laird and Rubin 1977).

p(z) = sum_k w_k N(z; m_k, C_k)
r_nk = w_k N(z_n; m_k, C_k) / p(z_n)                                                                          (expectation)
w_k = mean_n r_nk,   m_k = sum_n r_nk z_n / sum_n r_nk,   C_k = sum_n r_nk (z_n - m_k)(z_n - m_k)^T / sum_n r_nk + floor I
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elboard.methods.parts.priors import Prior


class GaussianMixture(Prior):
    """``components`` Gaussians of ``dim`` dimensions, in double precision; a density of codes or of data.

    Args:
        floor: what is added to the variances, as scikit-learn's ``reg_covar``.
    """

    def __init__(self, dim: int, components: int, floor: float = 1e-6):
        super().__init__()
        self.floor = floor
        self.register_buffer("weights", torch.full((components,), 1 / components, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(components, dim, dtype=torch.float64))
        self.register_buffer("factors", torch.eye(dim, dtype=torch.float64).repeat(components, 1, 1))  # Cholesky's, of the covariances

    def fit(self, x: Tensor, iterations: int = 100, tolerance: float = 1e-3, seed: int = 0) -> None:
        """Fit to ``(N, dim)``; ends where the mean log density rises by less than ``tolerance``, as scikit-learn."""
        x = x.double()
        generator = torch.Generator().manual_seed(seed)
        nearest = torch.cdist(x, self._spread(x, generator)).argmin(1)
        self._maximise(x, torch.nn.functional.one_hot(nearest, len(self.weights)).double())
        last = -math.inf
        for _ in range(iterations):
            joint = self.joint(x)
            total = torch.logsumexp(joint, dim=1)
            self._maximise(x, torch.exp(joint - total[:, None]))
            now = total.mean().item()
            if now - last < tolerance:
                break
            last = now

    def _spread(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Centres among the data, each with probability proportional to the squared distance from those before (k-means++, Arthur and
        Vassilvitskii 2007)."""
        first = torch.randint(len(x), (1,), generator=generator).to(x.device)
        centres = x[first]
        squared = (x - centres).square().sum(1)
        for _ in range(len(self.weights) - 1):
            cumulated = squared.cumsum(0)
            at = torch.rand(1, generator=generator).to(x) * cumulated[-1]
            one = x[torch.searchsorted(cumulated, at).clamp(max=len(x) - 1)]
            centres = torch.cat([centres, one])
            squared = torch.minimum(squared, (x - one).square().sum(1))
        return centres

    def _maximise(self, x: Tensor, share: Tensor) -> None:
        """The maximum for responsibilities ``(N, K)``; one component after another, which bounds memory."""
        mass = share.sum(0) + 1e-12
        self.weights = mass / mass.sum()
        self.means = share.T @ x / mass[:, None]
        eye = self.floor * torch.eye(x.shape[1], device=x.device, dtype=x.dtype)
        parts = []
        for k, mean in enumerate(self.means):
            centred = x - mean
            parts.append((share[:, k, None] * centred).T @ centred / mass[k] + eye)
        self.factors = torch.linalg.cholesky(torch.stack(parts))

    def joint(self, z: Tensor) -> Tensor:
        """``log w_k N(z; m_k, C_k)``, ``(N, K)`` of ``(N, dim)``."""
        columns = []
        for weight, mean, factor in zip(self.weights, self.means, self.factors, strict=True):
            white = torch.linalg.solve_triangular(factor, (z.double() - mean).T, upper=False)
            log_det = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            columns.append(torch.log(weight) - 0.5 * white.square().sum(0) - log_det)
        return torch.stack(columns, dim=1)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.joint(z.reshape(-1, z.shape[-1])), dim=1).reshape(z.shape[:-1]).to(z.dtype)

    def sample(self, n: int, like: Tensor) -> Tensor:
        k = torch.multinomial(self.weights, n, replacement=True)
        noise = torch.randn(n, self.means.shape[1], device=self.means.device, dtype=torch.float64)
        return (self.means[k] + (self.factors[k] @ noise[:, :, None])[:, :, 0]).to(like.dtype)
