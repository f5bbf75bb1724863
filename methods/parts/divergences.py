"""Kullback-Leibler divergences of Gaussians in closed form, in nats."""

from __future__ import annotations

import math

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """``KL(N(mean, diag exp(logvar)) || N(0, I))``, summed over the last dimension (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1)


def kl_diagonal(mean: Tensor, logvar: Tensor, other_mean: Tensor, other_logvar: Tensor) -> Tensor:
    """``KL(N(mean, diag exp(logvar)) || N(other_mean, diag exp(other_logvar)))``, summed over the last dimension."""
    ratio = logvar - other_logvar
    return 0.5 * (ratio.exp() + (mean - other_mean) ** 2 * (-other_logvar).exp() - 1 - ratio).sum(-1)


def kl_to_isotropic(mean: Tensor, factor: Tensor, prior: float) -> Tensor:
    """KL(N(mean_k, L_k L_k^T) || N(0, prior I)) for each k, ``(C,)``.

    Args:
        mean: ``(C, H)``.
        factor: L_k: ``(C, H, H)`` lower triangular with positive diagonal, or ``(C, H)`` its diagonal where the rest is zero.
        prior: variance s0.
    """
    dense = factor.ndim == 3
    trace = factor.square().sum((1, 2) if dense else 1)
    log_det = 2 * (factor.diagonal(dim1=1, dim2=2) if dense else factor).log().sum(1)
    h = mean.shape[1]
    return 0.5 * ((mean.square().sum(1) + trace) / prior + h * math.log(prior) - log_det - h)
