"""Scores of Gaussian mixtures, all components of the same weight: means and standard deviations ``(S, N)``, targets ``(N,)``.

A component may have no width: what is divided by it is its limit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

LEVELS = (50, 90, 95)  # per cent of the central intervals
BISECTIONS = 60
LEAST = 1e-140  # in the place of a standard deviation of 0: squares of ratios to it are finite
NODES = np.linspace(-8, 8, 201)  # of standard normal noise


def log_density(mean: np.ndarray, sd: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log (1/S) sum_s N(y; mean_s, sd_s^2), ``(N,)``."""
    sd = np.maximum(sd, LEAST)
    return logsumexp(-0.5 * ((y - mean) / sd) ** 2 - np.log(sd), axis=0) - np.log(len(mean)) - 0.5 * np.log(2 * np.pi)


def expected_log_density(mean: np.ndarray, sd: np.ndarray, truth: np.ndarray, noise: float) -> np.ndarray:
    """Its expectation over y ~ N(truth, noise^2), ``(N,)``, by the trapezoidal rule.

    Exact to 1e-7 for one component, and for more where none is narrower than the noise. Narrower ones that lie far apart have kinks between
    them that fall between nodes: 1e-4 was seen with two of a third of the noise that are three times the noise apart, 0.01 further apart.
    """
    weights = np.exp(-0.5 * NODES**2)
    return sum(w * log_density(mean, sd, truth + noise * z) for z, w in zip(NODES, weights / weights.sum(), strict=True))


def cdf(mean: np.ndarray, sd: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distribution function at y, ``(N,)``: the probability integral transform."""
    return ndtr((y - mean) / np.maximum(sd, LEAST)).mean(axis=0)


def quantile(mean: np.ndarray, sd: np.ndarray, p: float) -> np.ndarray:
    """Where the distribution function is p, ``(N,)``: by bisection between the least and the largest of the components' quantiles."""
    of = mean + sd * ndtri(p)
    low, high = of.min(axis=0), of.max(axis=0)
    for _ in range(BISECTIONS if len(mean) > 1 else 0):
        middle = (low + high) / 2
        below = cdf(mean, sd, middle) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def intervals(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Lower and upper ends of the central intervals of :data:`LEVELS`, ``(N, 3, 2)``."""
    ends = [[quantile(mean, sd, 0.5 + sign * level / 200) for sign in (-1, 1)] for level in LEVELS]
    return np.moveaxis(np.array(ends), 2, 0)


def crps(mean: np.ndarray, sd: np.ndarray, y: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """E|X - Y| - E|X - X'| / 2 with X, X' of the mixture, ``(N,)`` (Gneiting and Raftery 2007, eq. 21; Grimit et al. 2006, eq. 5).

    ``Y`` is y, or with ``noise`` N(y, noise^2), of which this is the expectation.
    """
    between = sum(_absolute(mean - m, np.hypot(sd, s)).mean(axis=0) for m, s in zip(mean, sd, strict=True)) / len(mean)
    return _absolute(y - mean, np.hypot(sd, noise)).mean(axis=0) - between / 2


def _absolute(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E|Z| of Z ~ N(mean, sd^2)."""
    z = mean / np.maximum(sd, LEAST)
    return 2 * sd * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + mean * (2 * ndtr(z) - 1)


def of_each(mean: np.ndarray, sd: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """What :func:`regression_metrics` needs of each of N targets: ``y``, ``mean`` and ``sd`` of the predictive, ``log_density``, ``crps``,
    ``pit`` and ``width`` (N, 3)."""
    return {
        "y": y,
        **moments(mean, sd),
        "log_density": log_density(mean, sd, y),
        "crps": crps(mean, sd, y),
        "pit": cdf(mean, sd, y),
        "width": np.diff(intervals(mean, sd), axis=2)[..., 0],
    }


def of_each_law(mean: np.ndarray, sd: np.ndarray, truth: np.ndarray, noise: float) -> dict[str, np.ndarray]:
    """The same where targets are N(truth, noise^2): expectations over them, ``y`` the truth, and in the place of ``pit`` how probable it is
    that a target lies in each interval, ``cover`` (N, 3)."""
    ends = intervals(mean, sd)
    low, high = ndtr((np.moveaxis(ends, 0, 2) - truth) / noise).swapaxes(0, 1)
    return {
        "y": truth,
        **moments(mean, sd),
        "log_density": expected_log_density(mean, sd, truth, noise),
        "crps": crps(mean, sd, truth, noise),
        "cover": (high - low).T,
        "width": np.diff(ends, axis=2)[..., 0],
    }


def moments(mean: np.ndarray, sd: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the mixture, each ``(N,)``."""
    return {"mean": mean.mean(axis=0), "sd": np.sqrt((sd**2).mean(axis=0) + mean.var(axis=0))}


def regression_metrics(each: Mapping[str, np.ndarray]) -> dict[str, float]:
    """rmse, target_nll, crps, coverage@K, interval_width@K, coverage_error, from :func:`of_each` or :func:`of_each_law`."""
    of = {name: np.asarray(array, np.float64) for name, array in each.items()}
    levels = np.array(LEVELS) / 100
    inside = of["cover"] if "cover" in of else np.abs(of["pit"][:, None] - 0.5) <= levels / 2
    coverage, width = inside.mean(axis=0), of["width"].mean(axis=0)
    return {
        "rmse": float(np.sqrt(((of["y"] - of["mean"]) ** 2).mean())),
        "target_nll": float(-of["log_density"].mean()),
        "crps": float(of["crps"].mean()),
        "coverage_error": float(np.abs(coverage - levels).mean()),
        **{f"coverage@{level}": float(value) for level, value in zip(LEVELS, coverage, strict=True)},
        **{f"interval_width@{level}": float(value) for level, value in zip(LEVELS, width, strict=True)},
    }
