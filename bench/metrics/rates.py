"""Learning curves: distances of codes and samples, the rates at which errors fall, and what theory predicts of them."""

from __future__ import annotations

import math

import numpy as np

WIDTHS = (0.5, 1.0, 2.0)


def predicted_rate(dimension: int) -> float:
    """Exponent of n in the bound of the excess risk of a Wasserstein autoencoder whose data have the intrinsic ``dimension`` d, whatever
    the ambient one: n^(-1 / (2 + d)), up to logarithms (Chakraborty and Bartlett 2024). Errors may fall faster."""
    return 1 / (2 + dimension)


def rate(n: np.ndarray, error: np.ndarray, floor: float) -> float:
    """Minus the least-squares slope of log error against log n; errors below ``floor``, where an estimate is noise, count as that."""
    x, y = np.log(np.asarray(n, dtype=np.float64)), np.log(np.maximum(error, floor))
    x = x - x.mean()
    return float(-(x @ y) / (x @ x))


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line of y against x, and the share of the variance of y that it explains (1 where y is constant)."""
    x, y = (np.asarray(of, dtype=np.float64) - np.mean(of) for of in (x, y))
    slope, total = float(x @ y / (x @ x)), float(y @ y)
    return slope, 1.0 if total == 0 else min(1.0, slope**2 * float(x @ x) / total)


def directions(dimension: int, number: int, seed: int = 0) -> np.ndarray:
    """``(number, dimension)`` vectors of length 1, by the uniform law."""
    drawn = np.random.default_rng(seed).normal(size=(number, dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, along: np.ndarray) -> float:
    """Mean over the directions ``along`` (P, D) of the first Wasserstein distance of the projections of ``a`` and ``b``, both (N, D), times
    the root of D: an isometric embedding into more dimensions then hardly changes it. In one dimension sorting solves it exactly."""
    of_a, of_b = (np.sort(x @ along.T.astype(x.dtype), axis=0) for x in (a, b))
    return float(np.abs(of_a - of_b).mean(dtype=np.float64) * math.sqrt(a.shape[1]))


def normal_discrepancy(z: np.ndarray) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of the law behind codes ``(N, Z)`` from N(0, I), which is taken exactly.

    k(a, b) = mean over widths h of exp(-|a - b|^2 / (2 h^2)). With z' and z'' from N(0, I)
    E k(z, z') = (h^2 / (h^2 + 1))^(Z/2) exp(-|z|^2 / (2 (h^2 + 1))),   E k(z', z'') = (h^2 / (h^2 + 2))^(Z/2)
    """
    dim, length, known = z.shape[1], (z**2).sum(1), 0.0
    for h2 in (width**2 for width in WIDTHS):
        across = (h2 / (h2 + 1)) ** (dim / 2) * np.exp(length / (-2 * (h2 + 1))).mean(dtype=np.float64)
        known += (h2 / (h2 + 2)) ** (dim / 2) - 2 * across
    return float(within(z) + known / len(WIDTHS))


def sample_discrepancy(a: np.ndarray, b: np.ndarray, within_b: float | None = None) -> float:
    """Unbiased estimate of that of the laws behind ``a`` (N, D) and ``b`` (M, D); ``within_b``: :func:`within` of ``b``, if it is known."""
    return within(a) + (within(b) if within_b is None else within_b) - 2 * _kernels(a, b) / (len(a) * len(b))


def within(x: np.ndarray) -> float:
    """Mean of the kernel over pairs of two different ones of ``x`` (N, D)."""
    n = len(x)
    return (_kernels(x, x) - n) / (n * (n - 1))


def _kernels(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of the kernel over all pairs."""
    total, lengths = 0.0, (b**2).sum(1)
    for part in np.array_split(a, 1 + len(a) // 1000):
        squared = np.clip((part**2).sum(1)[:, None] + lengths - 2 * part @ b.T, 0.0, None)
        total += sum(np.exp(squared / np.float32(-2 * width**2)).sum(dtype=np.float64) for width in WIDTHS)
    return float(total) / len(WIDTHS)


def minimax_rate(smoothness: float, dimension: int = 1) -> float:
    """Exponent of n in the least squared risk over functions of d variables with Hoelder smoothness b: n^(-2b / (2b + d)) (Stone 1982)."""
    return 2 * smoothness / (2 * smoothness + dimension)
