"""Truncated Dirichlet-process mixtures of Gaussians (Blei and Jordan 2006), fitted by scikit-learn and kept as tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CodeMixtures(nn.Module):
    """One mixture with full covariances for each of ``mixtures`` sets of codes with ``dim`` dimensions, N(0, I) until fitted."""

    def __init__(self, mixtures: int, components: int, dim: int):
        super().__init__()
        self.register_buffer("weights", torch.full((mixtures, components), 1 / components))
        self.register_buffer("means", torch.zeros(mixtures, components, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(mixtures, components, 1, 1))  # Cholesky's, of the covariances

    def fit(self, i: int, codes: Tensor) -> None:
        """Fit mixture ``i`` to codes ``(N, dim)``, with the concentration 1 / K for K components. K is at most N."""
        from sklearn.mixture import BayesianGaussianMixture

        k = min(self.weights.shape[1], len(codes))
        model = BayesianGaussianMixture(
            n_components=k, weight_concentration_prior=1 / k, covariance_type="full", random_state=0, max_iter=100, tol=1e-2
        ).fit(codes.double().cpu().numpy())
        self.weights[i] = 0.0
        self.weights[i, :k] = torch.from_numpy(model.weights_).to(self.weights)
        self.means[i, :k] = torch.from_numpy(model.means_).to(self.means)
        self.factors[i, :k] = torch.linalg.cholesky(torch.from_numpy(model.covariances_)).to(self.factors)

    def sample(self, i: int, n: int) -> Tensor:
        """``(n, dim)`` of mixture ``i``."""
        k = torch.multinomial(self.weights[i], n, replacement=True)
        noise = torch.randn(n, self.means.shape[2], 1, device=self.means.device)
        return self.means[i, k] + (self.factors[i, k] @ noise)[:, :, 0]
