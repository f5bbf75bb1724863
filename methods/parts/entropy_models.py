"""Learned densities of codes that are quantised, by which their length is counted."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FactorisedDensity(nn.Module):
    """A density of each of Z dimensions by itself, of any shape: the derivative of a monotone network c (Balle et al. 2018, appendix 6.1).

    c = sigmoid(f_K(... f_1(x))),   f_k(x) = u + tanh(a) tanh(u),   u = softplus(H) x + b      (the last one without the tanh)

    Args:
        width: of the initial density, in units of a step of the quantiser.
    """

    def __init__(self, dimensions: int, width: float = 10.0, hidden: tuple[int, ...] = (3, 3, 3)):
        super().__init__()
        sizes, layers = (1, *hidden, 1), len(hidden) + 1
        start = (math.log(math.expm1(width ** (-1 / layers) / outputs)) for outputs in sizes[1:])
        shapes = pairwise(sizes)
        self.matrices = nn.ParameterList([torch.full((dimensions, b, a), value) for (a, b), value in zip(shapes, start, strict=True)])
        self.biases = nn.ParameterList([torch.rand(dimensions, b, 1) - 0.5 for b in sizes[1:]])
        self.factors = nn.ParameterList([torch.zeros(dimensions, b, 1) for b in hidden])

    def logits(self, x: Tensor) -> Tensor:
        """The logit of c, ``(B, Z)`` of ``(B, Z)``, rising in each dimension."""
        h = x.T[:, None]  # (Z, 1, B)
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            h = torch.baddbmm(bias, F.softplus(matrix), h)
            if k < len(self.factors):
                h = h + self.factors[k].tanh() * h.tanh()
        return h[:, 0].T

    def log_mass(self, x: Tensor) -> Tensor:
        """log of the probability c(x + 1/2) - c(x - 1/2) of the unit interval around x, summed over dimensions, ``(B,)``.

        Of logits a < b it is log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b)), which has gradients in far tails, too.
        """
        with torch.autocast(x.device.type, enabled=False):  # half a step is nothing beside a large x in half precision
            low, high = self.logits(x - 0.5), self.logits(x + 0.5)
            step = (high - low).clamp(min=1e-6)
            return (F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-step))).sum(1)
