"""Which axes of a code matter to what is decoded (Saha, Joshi and Whitaker 2025)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 0.99


def relevance(decode: Callable[[Tensor], Tensor], z: Tensor, variance: Tensor) -> Tensor:
    """``w_l = v_l sum_d (mean_i |d decode(z_i)_d / d z_l|)^2``, ``(Z,)``, for codes ``z`` (N, Z) and the variances v of the axes (Z,).

    The absolute Jacobian is averaged before it is squared. Scaling an axis of the codes leaves its w as it is.
    """
    import torch
    from torch.func import jvp

    def column(axis: int) -> Tensor:
        direction = torch.zeros_like(z)
        direction[:, axis] = 1
        return jvp(decode, (z,), (direction,))[1].flatten(1).abs().mean(0).square().sum()

    return variance * torch.stack([column(axis) for axis in range(z.shape[1])]).detach()


def relevant(weights: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Whether each axis belongs to the smallest set with more than ``share`` of the sum of ``weights`` (Z,); none where all are 0."""
    weights = np.asarray(weights, dtype=np.float64)
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    chosen = np.zeros(len(weights), bool)
    chosen[order] = (before <= share * weights.sum()) & (weights[order] > 0)
    return chosen
