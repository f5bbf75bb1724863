"""Weak errors, of expectations under two laws of weights; and which directions noise prefers."""

from __future__ import annotations

import numpy as np


def rooted(squares: np.ndarray, errors: np.ndarray) -> float:
    """Root of an estimate without bias of |d|^2, of differences whose squares are ``squares`` (K,) with standard errors ``errors`` (K,); a
    thousandth of the standard error where it is less."""
    noise = float((errors**2).sum())
    return float(np.sqrt(max(float(squares.sum()) - noise, noise / 1e6, 1e-300)))


def linear_moments(h: np.ndarray, b: np.ndarray, keep: float, rate: float, steps: int, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (m,) and second moments E a a^T (m, m) of descent with dropout on (1/2) a^T h a - b^T a, exactly.

    a <- a - rate D (h D a - b) with independent diagonal entries 1/keep of D, with the probability ``keep``, else 0: a is multiplied by
    random matrices, so that moments of each order follow from those of the same and of lower ones. E D_r^k = keep^(1-k).
    """
    m = len(b)
    two, three, four = (_products(keep, m, k) for k in (2, 3, 4))
    mean, second = start.astype(np.float64), np.outer(start, start).astype(np.float64)
    for _ in range(steps):
        across = second @ (h * two) - np.outer(mean, b)  # E a g^T of the gradient g
        linear = np.einsum("rsq,rq,q->rs", three, h, mean) * b
        square = np.einsum("rsqt,rq,st,qt->rs", four, h, h, second) - linear - linear.T + np.outer(b, b) * two
        second = second - rate * (across + across.T) + rate**2 * square
        mean = mean - rate * ((h * two) @ mean - b)
    return mean, second


def _products(keep: float, m: int, k: int) -> np.ndarray:
    """E of the product of k entries of D, by their indices, ``(m,) * k``: an index that occurs j times gives keep^(1-j)."""
    at = np.ix_(*[np.arange(m)] * k)
    repeats = sum(np.any(np.broadcast_arrays(*(at[i] == at[j] for j in range(i))), axis=0).astype(int) for i in range(1, k))
    return keep ** -np.broadcast_to(repeats, (m,) * k).astype(np.float64)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two sequences ``(n,)``; ties share their mean rank; 0 where one of them is constant."""
    ranks = [(of[:, None] > of).sum(1) + ((of[:, None] == of).sum(1) - 1) / 2 for of in map(np.asarray, (a, b))]
    x, y = (of - of.mean() for of in ranks)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0
