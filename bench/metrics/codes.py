"""Moments of latent codes with diagonal posteriors, and the use of discrete ones.

Arrays of the former are ``(N, Z)``: means and log-variances of q(z|x) for N examples.
"""

from __future__ import annotations

import numpy as np

INACTIVE = 0.8  # E Var[z|x] above which a unit is inactive (Asperti and Trentin 2020)
FLOOR = 1e-12  # of a variance under a logarithm


def posterior_variance(logvars: np.ndarray) -> float:
    """Mean of Var[z|x] over examples and units."""
    return float(np.exp(np.asarray(logvars, dtype=np.float64)).mean())


def moments_kl(means: np.ndarray, logvars: np.ndarray | None = None) -> float:
    """``KL(N(m, V) || N(0, 1))`` in nats, mean over units: m and V are mean and variance of the aggregate posterior
    (V = Var E[z|x] + E Var[z|x]), or without ``logvars`` of the means alone."""
    means = np.asarray(means, dtype=np.float64)
    variance = means.var(axis=0) + (0.0 if logvars is None else np.exp(np.asarray(logvars, dtype=np.float64)).mean(axis=0))
    return float(0.5 * (means.mean(axis=0) ** 2 + variance - 1 - np.log(np.maximum(variance, FLOOR))).mean())


def variance_law(means: np.ndarray, logvars: np.ndarray) -> float:
    """Mean of ``|Var E[z|x] + E Var[z|x] - 1|`` over units with E Var[z|x] <= 0.8 (Asperti and Trentin 2020); 1 where there are none."""
    within = np.exp(np.asarray(logvars, dtype=np.float64)).mean(axis=0)
    total = np.asarray(means, dtype=np.float64).var(axis=0) + within
    active = within <= INACTIVE
    return float(np.abs(total - 1)[active].mean()) if active.any() else 1.0


def code_perplexity(counts: np.ndarray) -> float:
    """Exponential of the entropy of codes that are used ``counts`` times, ``(K,)``: from 1 for a single one to K for all alike."""
    share = np.asarray(counts, dtype=np.float64) / np.sum(counts, dtype=np.float64)
    used = share[share > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def aggregate_covariance(means: np.ndarray, logvars: np.ndarray) -> np.ndarray:
    """Covariance ``(Z, Z)`` of the aggregate posterior, the mixture of q(z|x) over the examples: Cov E[z|x] + E Cov[z|x]."""
    means = np.asarray(means, dtype=np.float64)
    return np.atleast_2d(np.cov(means, rowvar=False)) + np.diag(np.exp(np.asarray(logvars, dtype=np.float64)).mean(axis=0))


def log_det_gap(means: np.ndarray, logvars: np.ndarray) -> float:
    """``|log det Cov_q(z)[z]|``, 0 where q(z) has the prior's covariance (Zhao, Song and Ermon 2019)."""
    return float(abs(np.linalg.slogdet(aggregate_covariance(means, logvars))[1]))


def aggregate_mmd2(means: np.ndarray, logvars: np.ndarray) -> float:
    """Squared maximum mean discrepancy of the aggregate posterior q(z) and N(0, I), kernel exp(-|a - b|^2 / Z).

    Gaussians convolve: E exp(-d^2 / Z) = (1 + 2 v / Z)^(-1/2) exp(-m^2 / (Z + 2 v)) for d ~ N(m, v), and a product over units. So there is
    no noise of samples; pairs of an example with itself are left out, which makes it unbiased in the examples: it may be negative.
    """
    means, variances = np.asarray(means, dtype=np.float64), np.exp(np.asarray(logvars, dtype=np.float64))
    n, z = means.shape

    def kernel(m: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.exp(-(m**2 / (z + 2 * v) + 0.5 * np.log1p(2 * v / z)).sum(axis=-1))

    own = (
        sum(kernel(means[i] - means, variances[i] + variances).sum() for i in range(n)) - kernel(np.zeros_like(means), 2 * variances).sum()
    )
    return float(own / (n * (n - 1)) + (1 + 4 / z) ** (-z / 2) - 2 * kernel(means, variances + 1).mean())
