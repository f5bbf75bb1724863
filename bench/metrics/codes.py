"""Moments of latent codes with diagonal posteriors. Arrays are ``(N, Z)``: means and log-variances of q(z|x) for N examples."""

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
