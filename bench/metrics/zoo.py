"""Accuracies over a population, and what becomes of them along a path of growing sparsity."""

from __future__ import annotations

import numpy as np


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of ``a`` and ``b`` (G,): of all pairs those in the same order less those in the other one, corrected for ties."""
    upper = np.triu_indices(len(a), 1)
    x, y = (np.sign(of[:, None] - of)[upper] for of in (np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))
    scale = np.sqrt(np.abs(x).sum() * np.abs(y).sum())
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def along(sparsity: np.ndarray, values: np.ndarray, at: float, slack: float = 0.0) -> float | None:
    """``values`` (S,) at the sparsity ``at``, linear between the two stages around the first crossing; None where it is not reached.

    ``sparsity`` (S,) begins below ``at``, but need not grow at each stage. A stage within ``slack`` of ``at`` is there.
    """
    reached = np.flatnonzero(np.asarray(sparsity) >= at - slack)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0 or sparsity[i] <= at + slack:
        return float(values[i])
    share = (at - sparsity[i - 1]) / (sparsity[i] - sparsity[i - 1])
    return float((1 - share) * values[i - 1] + share * values[i])
