"""Linear maps of all ranks: the best ones, and how far others are from them."""

from __future__ import annotations

import numpy as np


def best_maps(a: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The maps M_b ``(D, D, D)`` of rank b = 1..D that minimise E|M_b x - A x|^2, of A (D, D) and inputs of mean 0 with an invertible
    ``covariance`` C (D, D).

    E|M x - A x|^2 = |(M - A) C^(1/2)|_F^2, so that M_b C^(1/2) is the truncated singular value decomposition of A C^(1/2) (Eckart and
    Young 1936): of A itself where C = I, and for A = I the projector on the first b principal directions.
    """
    values, axes = np.linalg.eigh(covariance)
    root, inverse = axes * np.sqrt(values) @ axes.T, axes / np.sqrt(values) @ axes.T
    u, s, vt = np.linalg.svd(a @ root)
    terms = np.einsum("ib,b,bj->bij", u, s, vt) @ inverse
    return terms.cumsum(axis=0)


def truncation_errors(found: np.ndarray, best: np.ndarray) -> np.ndarray:
    """|M_b - best_b|_F / |best_b|_F ``(D,)`` of maps ``(D, D, D)``."""
    return np.linalg.norm(found - best, axis=(1, 2)) / np.linalg.norm(best, axis=(1, 2))
