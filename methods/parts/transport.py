"""Entropic optimal transport between two samples, in the log domain (Cuturi 2013; Peyre and Cuturi 2019, section 4.4).

min_pi sum_ij pi_ij c_ij + eps KL(pi || a b^T),   pi 1 = a = 1/N,  pi^T 1 = b = 1/M
pi_ij = exp((f_i + g_j - c_ij) / eps) / (N M)
g_j <- -eps log mean_i exp((f_i - c_ij) / eps),   f_i <- -eps log mean_j exp((g_j - c_ij) / eps)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 2000  # of the cost that are worked on at once: bounds the memory of intermediate results


def columns(cost: Tensor, f: Tensor, eps: float) -> Tensor:
    """g ``(M,)`` that gives each column its mass, for ``cost`` (N, M) and f (N,)."""
    parts = [torch.logsumexp((of[:, None] - c) / eps, dim=0) for c, of in zip(cost.split(ROWS), f.split(ROWS), strict=True)]
    return -eps * (torch.logsumexp(torch.stack(parts), dim=0) - math.log(len(cost)))


def rows(cost: Tensor, g: Tensor, eps: float) -> Tensor:
    """f ``(N,)`` that gives each row its mass, for ``cost`` (N, M) and g (M,)."""
    parts = [torch.logsumexp((g - c) / eps, dim=1) for c in cost.split(ROWS)]
    return -eps * (torch.cat(parts) - math.log(cost.shape[1]))


def sinkhorn(cost: Tensor, f: Tensor, iterations: int, eps: float = 1.0) -> tuple[Tensor, Tensor]:
    """Potentials f and g after ``iterations`` that start from f; rows have their mass exactly, columns in the limit."""
    g = torch.zeros(cost.shape[1], dtype=cost.dtype, device=cost.device)
    for _ in range(iterations):
        g = columns(cost, f, eps)
        f = rows(cost, g, eps)
    return (f, g) if iterations else (rows(cost, g, eps), g)


def choose(cost: Tensor, g: Tensor, eps: float = 1.0) -> Tensor:
    """A column for each row, ``(N,)``, drawn from the coupling: softmax_j of (g_j - c_ij) / eps."""
    parts = []
    for c in cost.split(ROWS):
        below = ((g - c) / eps).softmax(1).cumsum(1)  # inversion: a uniform number a row instead of one an entry
        at = torch.rand(len(c), 1, device=c.device, dtype=c.dtype) * below[:, -1:]
        parts.append(torch.searchsorted(below, at)[:, 0].clamp(max=cost.shape[1] - 1))
    return torch.cat(parts)
