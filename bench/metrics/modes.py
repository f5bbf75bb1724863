"""Push-forward generators of m equal, disconnected modes: the most of their mass that can lie on modes, and how it falls with m."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm

NODES, REACH = 4001, 9.0  # of the integral, in standard deviations
LEAST = 1e-3  # share that counts as none, where logarithms are taken
WIDEST = 2.0  # half-width of a band, in standard deviations: leaves 0.6 % of four cells, less of more


def best_precision(modes: int, eps: float) -> float:
    """Largest share of N(0, I) at least ``eps`` from all borders between ``modes`` cells that form a simplicial cluster, which needs
    modes - 1 dimensions (Issenhuth, Tanielian, Mary and Picard 2023). It falls with m about as exp(-2 eps sqrt(log m)).

    The cells are argmax_i z_i of m coordinates, and the nearest border lies (z_(1) - z_(2)) / sqrt(2) away:
    P(z_(1) - z_(2) > sqrt(2) eps) = m int phi(t) Phi(t - sqrt(2) eps)^(m - 1) dt, by the trapezoidal rule.
    """
    t = np.linspace(-REACH, REACH + math.sqrt(2) * eps, NODES)
    return float(np.trapezoid(modes * norm.pdf(t) * norm.cdf(t - math.sqrt(2) * eps) ** (modes - 1), t))


def explained(modes: np.ndarray, on: np.ndarray, law: Callable[[np.ndarray, float], np.ndarray], largest: float) -> float:
    """Share of the variance of log ``on`` (M,) that log ``law(modes, c)`` explains, for the best c in [0, ``largest``]; below 0 where their
    mean explains more. 0 where they do not vary."""
    log = np.log(np.maximum(on, LEAST))
    total = ((log - log.mean()) ** 2).sum()
    if total == 0:
        return 0.0
    left = minimize_scalar(lambda c: ((log - np.log(np.maximum(law(modes, c), LEAST))) ** 2).sum(), bounds=(0, largest), method="bounded")
    return float(1 - left.fun / total)


def by_root(modes: np.ndarray, on: np.ndarray) -> float:
    """:func:`explained` by exp(-c sqrt(log m))."""
    return explained(modes, on, lambda m, c: np.exp(-c * np.sqrt(np.log(m))), -math.log(LEAST))


def by_bubbles(modes: np.ndarray, on: np.ndarray) -> float:
    """:func:`explained` by :func:`best_precision` with one half-width for all m."""
    return explained(modes, on, lambda m, eps: np.array([best_precision(int(of), eps) for of in m]), WIDEST)


def cells(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest of ``centres`` (m, D), and the distance to it, of ``x`` (N, D)."""
    squared = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    return squared.argmin(1), np.sqrt(np.maximum(squared.min(1), 0))


def recall(labels: np.ndarray, modes: int) -> float:
    """Overlap of the shares of the modes with equal shares, sum_i min(p_i, 1 / m), from 1 / m for a single mode to 1; 0 without samples.
    ``labels`` are those of samples on modes, ``(N,)``."""
    if not len(labels):
        return 0.0
    return float(np.minimum(np.bincount(labels, minlength=modes) / len(labels), 1 / modes).sum())


def linear_gain(z: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of multinomial logistic regression of the labels (N,) on latents (N, Z), learned on the first two thirds and measured on
    the others, minus the share of their most frequent label."""
    from sklearn.linear_model import LogisticRegression

    cut = 2 * len(z) // 3
    largest = np.bincount(labels[cut:]).max() / (len(z) - cut)
    if len(np.unique(labels[:cut])) == 1:
        return float((labels[cut:] == labels[0]).mean() - largest)
    return float(LogisticRegression(max_iter=200).fit(z[:cut], labels[:cut]).score(z[cut:], labels[cut:]) - largest)
