"""Likelihoods and latent codes. Everything in nats unless said."""

from __future__ import annotations

import math

import numpy as np

ACTIVE = 0.01  # variance of a unit's posterior mean over examples above which it is active (Burda et al. 2016, section 5.2)


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Bits per dimension of a negative log likelihood in nats."""
    return nats / (dimensions * math.log(2))


def active_units(means: np.ndarray, threshold: float = ACTIVE) -> int:
    """Number of latent units whose posterior mean ``(N, Z)`` has a variance over examples above ``threshold``
    (Burda et al. 2016, section 5.2)."""
    return int((np.var(np.asarray(means, dtype=np.float64), axis=0) > threshold).sum())


def mutual_information(means: np.ndarray, logvars: np.ndarray, z: np.ndarray) -> float:
    """Mutual information of example and code under q(z|x) p_data(x): mean of log q(z_n|x_n) - log (1/N) sum_m q(z_n|x_m).

    Hoffman & Johnson 2016 with the aggregate posterior of the N given examples, so it is at most log N. Squares are expanded, about the
    mean of all codes: where codes lie 10^5 of their own deviations apart, that costs 1e-8 nats.

    Args:
        means, logvars: of the diagonal Gaussian q(z|x), ``(N, Z)``.
        z: one sample an example, ``(N, Z)``.
    """
    means, logvars, z = (np.asarray(a, dtype=np.float64) for a in (means, logvars, z))
    centre = means.mean(axis=0)
    means, z = means - centre, z - centre
    n, precision = len(z), np.exp(-logvars)
    constant = (means**2 * precision + logvars + math.log(2 * math.pi)).sum(axis=1)
    total = 0.0
    for start in range(0, n, 256):
        part = z[start : start + 256]
        log_q = -0.5 * (part**2 @ precision.T - 2 * part @ (means * precision).T + constant)
        top = log_q.max(axis=1)
        own = log_q[np.arange(len(part)), np.arange(start, start + len(part))]
        total += float((own - top - np.log(np.exp(log_q - top[:, None]).mean(axis=1))).sum())
    return total / n
