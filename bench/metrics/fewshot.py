"""What episodes say of a few-shot classifier."""

from __future__ import annotations

import numpy as np


def episode_interval(accuracies: np.ndarray) -> float:
    """Half-width of the normal 95 % interval of the mean of ``accuracies`` (E,), one of each episode; 0 of a single one."""
    n = len(accuracies)
    return float(1.96 * np.asarray(accuracies, dtype=np.float64).std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
