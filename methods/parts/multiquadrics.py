"""The kernel of Wasserstein autoencoders: a sum of inverse multiquadrics over scales (Tolstikhin et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Multiquadrics(torch.autograd.Function):
    """sum_s s / (s + q), elementwise; its derivative -sum_s s / (s + q)^2 is found beside it, at half the cost of a graph of its terms."""

    @staticmethod
    def forward(ctx: Any, q: Tensor) -> Tensor:
        total, slope = torch.zeros_like(q), torch.zeros_like(q)
        for s in SCALES:
            inverse = (q + s).reciprocal_()
            total.add_(inverse, alpha=s)
            slope.sub_(inverse.square_(), alpha=s)
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ctx.saved_tensors[0] * gradient
