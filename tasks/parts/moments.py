"""Moments of features and pictures: covariances in 16 bits, as evidence keeps them (standard deviations, and the upper triangle of the
correlations), and variances within groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

FULL = np.iinfo(np.int16).max  # a correlation of 1


def moments_of(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of features (n, D)."""
    return f.mean(0), np.cov(f, rowvar=False)


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


def variance_within(x: Tensor, y: Tensor) -> np.ndarray:
    """Variance of images ``(n, ...)`` of equal attributes ``(n, K)``, summed over pixels and pooled over the combinations: a scalar.

    Half the mean squared distance of two of them. A combination that a single image has tells nothing.
    """
    _, group = torch.unique(y, dim=0, return_inverse=True)
    x = x.flatten(1).double()
    total = torch.zeros(int(group.max()) + 1, x.shape[1], dtype=torch.float64).index_add_(0, group, x)
    counts = torch.bincount(group).double()[:, None]
    scatter = (x - (total / counts)[group]).square().sum()
    return np.array(float(scatter / (counts - 1).sum().clamp(min=1)))
