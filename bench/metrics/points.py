"""Samples against true points of the plane."""

from __future__ import annotations

import numpy as np

WIDTHS = (0.1, 0.3, 1.0, 3.0)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = np.clip((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0, None)
    return sum(np.exp(squared / (-2 * width**2)) for width in WIDTHS) / len(WIDTHS)


def mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) of ``(n, 2)`` and ``(m, 2)``."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = len(a), len(b)
    within = sum((_kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1)) for x in (a, b))
    return float(within - 2 * _kernel(a, b).sum() / (n * m))


def mode_coverage(samples: np.ndarray, means: np.ndarray, deviation: float, share: float) -> float:
    """Share of the modes ``means`` (M, 2) that have at least a fifth of the samples due to them within 3 deviations; ``share`` of all
    samples is due to all modes together."""
    near = ((samples[:, None] - means) ** 2).sum(2) <= (3 * deviation) ** 2
    return float((near.sum(0) >= max(1.0, 0.2 * len(samples) * share / len(means))).mean())


def tail_distance(samples: np.ndarray, points: np.ndarray, share: float = 0.05) -> float:
    """Mean of the largest ``share`` (rounded up) of the distances of ``samples`` (n, D) from the nearest of ``points`` (m, D)."""
    parts = np.array_split(np.asarray(samples, dtype=np.float64), max(1, len(samples) // 500))
    nearest = np.concatenate([((part[:, None] - points) ** 2).sum(2).min(1) for part in parts])
    return float(np.sort(np.sqrt(nearest))[-int(np.ceil(share * len(nearest))) :].mean())
