"""Distances between features of real and of generated images; the feature network belongs to the metric's name."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def _under_factor(covariance1: np.ndarray, covariance2: np.ndarray) -> np.ndarray:
    """``A^T C2 A`` with ``A A^T = C1``, which has the eigenvalues of C1 C2: A is the Cholesky factor where C1 is positive definite, which
    takes a third of the time, else (of fewer rows than columns, say) from eigenvalues; those below zero are rounding and count as zero.
    """
    try:
        lower = scipy.linalg.cholesky(covariance1, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance1)
        factor = vectors * np.sqrt(np.clip(values, 0, None))
        return factor.T @ covariance2 @ factor
    half = scipy.linalg.blas.dtrmm(1.0, lower, covariance2, side=1, lower=1)
    return scipy.linalg.blas.dtrmm(1.0, lower, half, side=0, lower=1, trans_a=1)


def frechet_distance(mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)`` (Dowson and Landau 1982; Heusel et al. 2017).

    By the eigenvalues of a symmetric matrix, which singular covariances do not disturb; those below zero are rounding and count as zero.
    """
    covariance1, covariance2 = (np.asarray(of, dtype=np.float64) for of in (covariance1, covariance2))
    inner = np.linalg.eigvalsh(_under_factor(covariance1, covariance2))
    cross = np.sqrt(np.clip(inner, 0, None)).sum()
    difference = np.asarray(mean1, dtype=np.float64) - mean2
    return float(difference @ difference + np.trace(covariance1) + np.trace(covariance2) - 2 * cross)


def kid(x: np.ndarray, y: np.ndarray, subsets: int, subset_size: int, rng: np.random.Generator) -> float:
    """Unbiased squared MMD with the kernel ``(x.y / D + 1)^3``, mean over random subsets without replacement (Binkowski et al. 2018)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    size = min(subset_size, len(x), len(y))
    estimates = [_mmd2(x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)]) for _ in range(subsets)]
    return float(np.mean(estimates))


def _mmd2(x: np.ndarray, y: np.ndarray) -> float:
    n, d = x.shape
    k_xx, k_yy, k_xy = (x @ x.T / d + 1) ** 3, (y @ y.T / d + 1) ** 3, (x @ y.T / d + 1) ** 3
    within = (k_xx.sum() - np.trace(k_xx) + k_yy.sum() - np.trace(k_yy)) / (n * (n - 1))
    return float(within - 2 * k_xy.mean())


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.clip((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0, None)


def _radii(rows: np.ndarray, k: int, chunk: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row."""
    parts = []
    for start in range(0, len(rows), chunk):
        distances = _squared_distances(rows[start : start + chunk], rows)
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        parts.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
    return np.concatenate(parts)


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3, chunk: int = 1000) -> tuple[float, float]:
    """Share of generated features inside the real manifold, and of real ones inside the generated (Kynkaanniemi et al. 2019, eq. 2).

    A manifold is the union of balls around its rows that reach to the k-th nearest other row; the border belongs to the ball.
    """
    real, fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)

    def covered(points: np.ndarray, centres: np.ndarray) -> float:
        radii = _radii(centres, k, chunk)
        inside = [(_squared_distances(points[i : i + chunk], centres) <= radii).any(axis=1) for i in range(0, len(points), chunk)]
        return float(np.concatenate(inside).mean())

    return covered(fake, real), covered(real, fake)
