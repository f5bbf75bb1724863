"""Diagonal linear state-space layers (Gu et al. 2022; Orvieto et al. 2023; Smith et al. 2023).

    h_t = lambda * h_(t-1) + gamma * B u_t,    y_t = Re(C h_t) + D * u_t
    lambda = exp(-exp(nu) + i theta),          gamma = sqrt(1 - |lambda|^2)

h is complex and lambda of each of its entries, so that a step is linear and the states of all steps are found in O(log T) of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from elboard.bench.method import at_least_single

LEAST, MOST = 0.9, 0.999  # of |lambda| at the start

State = list[Tensor]  # of each layer, complex (B, N)


def recurrence(factor: Tensor, b: Tensor) -> Tensor:
    """h_t = factor * h_(t-1) + b_t, h_0 = 0, of ``factor`` (N,) and ``b`` (B, T, N), complex: one step after the other."""
    h, states = torch.zeros_like(b[:, 0]), []
    for now in b.unbind(1):
        h = factor * h + now
        states.append(h)
    return torch.stack(states, 1)


class _Doubling(torch.autograd.Function):
    """The scan, and its gradient by another one from the end: dL/db_t = dL/dh_t + conj(factor) dL/db_(t+1)."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, b: Tensor) -> Tensor:
        h = _doubled(factor, b)
        ctx.save_for_backward(factor, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_h: Tensor) -> tuple[Tensor, Tensor]:
        factor, h = ctx.saved_tensors
        of_b = _doubled(factor.conj(), of_h.flip(1)).flip(1)
        return (h[:, :-1].conj() * of_b[:, 1:]).sum((0, 1)), of_b


def _doubled(factor: Tensor, b: Tensor) -> Tensor:
    h, reach = b, 1
    while reach < b.shape[1]:
        further = h.clone()
        further[:, reach:].addcmul_(h[:, :-reach], factor)
        h, factor, reach = further, factor * factor, 2 * reach
    return h


def doubling(factor: Tensor, b: Tensor) -> Tensor:
    """:func:`recurrence` as an inclusive scan: after round r each state has its last 2^r inputs (Hillis and Steele 1986)."""
    return _Doubling.apply(factor, b)


def convolved(factor: Tensor, b: Tensor) -> Tensor:
    """:func:`recurrence` as a convolution with the powers of the factor, by Fourier transforms of twice the length: without the zeros the
    end of a sequence would reach its start."""
    length = b.shape[1]
    powers = torch.exp(torch.arange(length, device=b.device)[:, None] * factor.log())
    return torch.fft.ifft(torch.fft.fft(b, 2 * length, 1) * torch.fft.fft(powers, 2 * length, 0), dim=1)[:, :length]


SCANS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"doubling": doubling, "fourier": convolved, "loop": recurrence}


class DiagonalSSM(nn.Module):
    """The layer of the module, of ``width`` inputs and outputs and as many states."""

    def __init__(self, width: int, scan: str):
        super().__init__()
        self.nu = nn.Parameter((-torch.empty(width).uniform_(LEAST, MOST).log()).log())
        self.theta = nn.Parameter(torch.empty(width).uniform_(0, math.pi))  # Re makes those below 0 the same
        self.b, self.c = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.d = nn.Parameter(torch.randn(width))
        self.scan = SCANS[scan]

    def forward(self, u: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``u`` (B, T, width) and the state ``before`` it (B, width), if not 0, to outputs like u and the last state."""
        modulus = torch.exp(-torch.exp(self.nu))
        factor = torch.polar(modulus, self.theta)
        gamma = (-torch.expm1(-2 * torch.exp(self.nu))).sqrt()  # of the modulus it would be 0, with no gradient, for nu below -17
        b = gamma * torch.view_as_complex(at_least_single(self.b(u)).unflatten(2, (-1, 2)))
        if before is not None:
            b = torch.cat([b[:, :1] + (factor * before)[:, None], b[:, 1:]], 1)
        h = self.scan(factor, b)
        return self.c(torch.view_as_real(h).flatten(2)) + self.d * u, h[:, -1]


class _Block(nn.Module):
    """Normalisation, state-space layer (with ``both`` one from each end), GELU and a gated linear unit, around a shortcut."""

    def __init__(self, width: int, both: bool, scan: str):
        super().__init__()
        self.norm, self.ahead = nn.LayerNorm(width), DiagonalSSM(width, scan)
        self.back = DiagonalSSM(width, scan) if both else None
        self.gate = nn.Linear((1 + both) * width, 2 * width)

    def forward(self, u: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        v = self.norm(u)
        y, last = self.ahead(v, before)
        if self.back is not None:
            y = torch.cat([y, self.back(v.flip(1))[0].flip(1)], 2)
        return u + F.glu(self.gate(F.gelu(y)), 2), last


class StateSpaceNetwork(nn.Module):
    """``depth`` blocks on vectors ``(B, T, inputs)``: causal, or with ``both`` each output sees all of the sequence.

    6 width^2 parameters a causal block, half of those of a transformer.
    """

    def __init__(self, inputs: int, width: int, depth: int, both: bool = False, scan: str = "doubling"):
        super().__init__()
        self.embed, self.norm = nn.Linear(inputs, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList([_Block(width, both, scan) for _ in range(depth)])

    def forward(self, u: Tensor, before: State | None = None) -> tuple[Tensor, State]:
        """``(B, T, width)`` and the last states, from which the sequence may be gone on with; ``before``: those of what came before u."""
        h, states = self.embed(u), []
        for i, block in enumerate(self.blocks):
            h, last = block(h, before[i] if before else None)
            states.append(last)
        return self.norm(h), states
