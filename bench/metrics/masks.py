"""How far predictions under random masks lie from each other, and how far gradients of mini-batches do."""

from __future__ import annotations

import numpy as np

from elboard.bench.metrics.calibration import FLOOR

STILL = 1e-9  # a product of norms up to which something does not vary


def symmetric_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``(KL(p, q) + KL(q, p)) / 2`` of probabilities ``(..., C)``, floored at 1e-12: ``sum_c (p - q) (log p - log q) / 2``."""
    p, q = (np.asarray(of, dtype=np.float64) for of in (p, q))
    logs = np.log(np.clip(p, FLOOR, 1.0)) - np.log(np.clip(q, FLOOR, 1.0))
    return 0.5 * ((p - q) * logs).sum(axis=-1)


def direction_variance(gradients: np.ndarray) -> float:
    """GDV (Liu et al. 2023, section 3): mean over pairs of the rows of ``(G, P)`` of ``(1 - cosine) / 2``; at least two rows."""
    unit = _unit(gradients)
    upper = np.triu_indices(len(unit), 1)
    return float(0.5 * (1 - (unit @ unit.T)[upper]).mean())


def direction_error(gradients: np.ndarray, reference: np.ndarray) -> float:
    """GDE (ibid.): mean over the rows of ``(G, P)`` of ``(1 - cosine) / 2`` with ``reference`` ``(P,)``."""
    return float(0.5 * (1 - _unit(gradients) @ _unit(reference[None])[0]).mean())


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero stays zero, at a right angle to all."""
    rows = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of ``a`` and ``b`` (N, G) over the first axis, ``(G,)``; 0 where one of them does not vary."""
    a, b = (of.astype(np.float64) - of.mean(0, dtype=np.float64) for of in (a, b))
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), scale, out=np.zeros_like(scale), where=scale > STILL)
