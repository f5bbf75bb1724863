"""Variational Bayesian last layers (Harrison, Willes and Snoek 2024): bounds and predictives of given features.

All heads have C Gaussians q_k = N(mean_k, S_k) in R^H with prior N(0, s0 I), and a diagonal noise covariance Sigma, a point estimate under
an inverse-Wishart prior. Standard deviations are exponentials of parameters, so that their squares are variances. Initial values are those
that the authors' package has for the discriminative layer; means start at draws from the prior, those of the generative one at N(0, 0.1^2).
Its layer for regression starts further off: means at N(0, 1), and random covariances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elboard.methods.parts.divergences import kl_to_isotropic

DOF = 1.0  # of the inverse-Wishart prior; the package's default


class VariationalHead(nn.Module):
    """The Gaussians and the noise that all heads have.

    Args:
        n_features, n_classes: H and C, of regression the number of targets.
        noise_size: of Sigma: C for noise on logits, H on features.
        prior: s0.
        mean_std: of the initial means.
        covariance: "diagonal" or "dense" S_k.
        wishart_scale: of the prior of Sigma.
    """

    def __init__(
        self, n_features: int, n_classes: int, noise_size: int, prior: float, mean_std: float, covariance: str, wishart_scale: float
    ):
        super().__init__()
        self.prior, self.wishart_scale = prior, wishart_scale
        self.mean = nn.Parameter(mean_std * torch.randn(n_classes, n_features))
        self.log_diagonal = nn.Parameter(1e-3 * torch.randn(n_classes, n_features) - math.log(n_features))
        self.lower = nn.Parameter(torch.zeros(n_classes, n_features, n_features)) if covariance == "dense" else None
        self.log_noise = nn.Parameter(torch.randn(noise_size) - 1)

    def factor(self) -> Tensor:
        """L_k as :func:`kl_to_isotropic` takes it."""
        diagonal = self.log_diagonal.exp()
        return diagonal if self.lower is None else self.lower.tril(-1) + torch.diag_embed(diagonal)

    def noise(self) -> Tensor:
        """Variances on the diagonal of Sigma."""
        return (2 * self.log_noise).exp()

    def kl(self) -> Tensor:
        """KL(q || prior), over all classes."""
        return kl_to_isotropic(self.mean, self.factor(), self.prior).sum()

    def log_prior_of_noise(self) -> Tensor:
        """log p(Sigma) = dof' log|Sigma^-1| - wishart_scale / 2 tr(Sigma^-1), dof' = (dof + size + 1) / 2, without its constant."""
        dof = (DOF + len(self.log_noise) + 1) / 2
        return -2 * dof * self.log_noise.sum() - 0.5 * self.wishart_scale * (1 / self.noise()).sum()

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``(B, C)`` whose largest is the prediction at the posterior's mean."""
        raise NotImplementedError

    def bound(self, features: Tensor, y: Tensor) -> Tensor:
        """Lower bound of E_q log p(y | features), ``(B,)``."""
        raise NotImplementedError

    def predict(self, features: Tensor, n_samples: int) -> Tensor:
        """Probabilities ``(S, B, C)``."""
        raise NotImplementedError


class LinearHead(VariationalHead):
    """W phi + e, w_k ~ q_k, e ~ N(0, Sigma): Gaussian for given features."""

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.mean.T

    def variance(self, features: Tensor) -> Tensor:
        """phi^T S_k phi + Sigma_kk, ``(B, C)``."""
        factor = self.factor()
        if factor.ndim == 2:
            return features.square() @ factor.square().T + self.noise()
        return torch.einsum("bh,khj->bkj", features, factor).square().sum(2) + self.noise()


class DiscriminativeHead(LinearHead):
    """Logits z = W phi + e; y ~ softmax(z)."""

    def __init__(self, n_features: int, n_classes: int, covariance: str, wishart_scale: float):
        prior = 2 / n_features
        super().__init__(n_features, n_classes, n_classes, prior, math.sqrt(prior), covariance, wishart_scale)

    def bound(self, features: Tensor, y: Tensor) -> Tensor:
        """mean_y^T phi - LSE_k(mean_k^T phi + (phi^T S_k phi + Sigma_kk) / 2): Jensen's inequality on the log-sum-exp."""
        logits = self(features)
        return logits.gather(1, y[:, None])[:, 0] - (logits + 0.5 * self.variance(features)).logsumexp(1)

    def predict(self, features: Tensor, n_samples: int) -> Tensor:
        """Softmax of ``n_samples`` draws of the logits."""
        mean, std = self(features), self.variance(features).sqrt()
        return (mean + std * torch.randn(n_samples, *mean.shape, device=mean.device, dtype=mean.dtype)).softmax(2)


class GenerativeHead(VariationalHead):
    """p(phi | y = k) = N(mu_k, Sigma), mu_k ~ q_k with diagonal S_k, classes equally probable."""

    def __init__(self, n_features: int, n_classes: int, wishart_scale: float):
        super().__init__(n_features, n_classes, n_features, 1.0, 0.1, "diagonal", wishart_scale)

    def forward(self, features: Tensor) -> Tensor:
        """log N(phi; mean_k, Sigma + S_k), ``(B, C)``."""
        variance = self.noise() + self.factor().square()
        return self._log_normal(features, variance)

    def _log_normal(self, features: Tensor, variance: Tensor) -> Tensor:
        """log N(phi; mean_k, diag(variance_k)), ``(B, C)``, for variances ``(C, H)`` or ``(H,)``."""
        square = (features[:, None] - self.mean).square() / variance  # not multiplied out, which would cancel digits
        return -0.5 * (square + (2 * math.pi * variance).log()).sum(2)

    def bound(self, features: Tensor, y: Tensor) -> Tensor:
        """log N(phi; mean_y, Sigma) - tr(Sigma^-1 S_y) / 2 - LSE_k log N(phi; mean_k, Sigma + S_k)."""
        trace = (self.factor().square() / self.noise()).sum(1)
        own = self._log_normal(features, self.noise()) - 0.5 * trace
        return own.gather(1, y[:, None])[:, 0] - self(features).logsumexp(1)

    def predict(self, features: Tensor, n_samples: int) -> Tensor:
        """The closed form, ``(1, B, C)``."""
        return self(features).softmax(1)[None]

    def log_density(self, features: Tensor) -> Tensor:
        """log p(phi) of the features, ``(B,)``."""
        scores = self(features)
        return scores.logsumexp(1) - math.log(scores.shape[1])


class RegressionHead(LinearHead):
    """y = w phi + e of one target: the expectation of the log-likelihood and the predictive have closed forms."""

    def __init__(self, n_features: int, covariance: str, wishart_scale: float):
        prior = 1 / n_features
        super().__init__(n_features, 1, 1, prior, math.sqrt(prior), covariance, wishart_scale)

    def bound(self, features: Tensor, y: Tensor) -> Tensor:
        """log N(y; mean^T phi, Sigma) - phi^T S phi / (2 Sigma) = E_q log p(y | phi)."""
        mean, variance = self(features)[:, 0], self.variance(features)[:, 0]
        spread = variance - self.noise()
        return -0.5 * ((y - mean).square() + spread) / self.noise() - self.log_noise - 0.5 * math.log(2 * math.pi)

    def predictive(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of N(mean^T phi, phi^T S phi + Sigma), each ``(B,)``."""
        return self(features)[:, 0], self.variance(features)[:, 0].sqrt()
