"""Covariances in 16 bits, as evidence keeps them: standard deviations, and the upper triangle of the correlations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

FULL = np.iinfo(np.int16).max  # a correlation of 1


def packed(of: str, covariance: np.ndarray) -> dict[str, np.ndarray]:
    """What is kept of a covariance (D, D): ``<of>_deviation`` and ``<of>_correlation``."""
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)
    correlation = (covariance / scale / scale[:, None])[np.triu_indices(len(deviation), 1)]
    return {f"{of}_deviation": deviation.astype(np.float32), f"{of}_correlation": np.rint(correlation.clip(-1, 1) * FULL).astype(np.int16)}


def unpacked(observed: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """The covariances ``<of>_covariance`` of those of ``names`` that evidence holds."""
    found = {}
    for of in names:
        if f"{of}_correlation" in observed:
            deviation = observed[f"{of}_deviation"].astype(np.float64)
            upper = np.zeros((len(deviation), len(deviation)))
            upper[np.triu_indices(len(deviation), 1)] = observed[f"{of}_correlation"] / FULL
            found[f"{of}_covariance"] = (upper + upper.T + np.eye(len(deviation))) * deviation * deviation[:, None]
    return found
