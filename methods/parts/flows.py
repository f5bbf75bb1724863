"""Flows of codes whose Jacobian is triangular, as posteriors in the form of :mod:`elboard.methods.parts.posteriors`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.posteriors import DiagonalGaussian, Draw, Gaussian


class MaskedAutoregressive(nn.Module):
    """Two numbers for each of Z dimensions, which depend on the dimensions before it alone and on a context (Germain, Gregor, Murray and
    Larochelle 2015, MADE).

    One hidden layer of exponential linear units. Each has a degree from 0 to Z - 1 and sees the dimensions up to that (of degree 0 the
    context alone); the numbers of dimension i see the units of degrees below i.

    Args:
        reverse: whether the last dimension is the first of the order.
    """

    def __init__(self, latent_dim: int, hidden: int, n_context: int, reverse: bool):
        super().__init__()
        self.inner, self.context, self.out = nn.Linear(latent_dim, hidden), nn.Linear(n_context, hidden), nn.Linear(hidden, 2 * latent_dim)
        order = torch.arange(1, latent_dim + 1)
        order = order.flip(0) if reverse else order
        degree = torch.arange(hidden) % latent_dim
        self.register_buffer("inner_mask", (degree[:, None] >= order).float(), persistent=False)
        self.register_buffer("out_mask", (order[:, None] > degree).float().repeat(2, 1), persistent=False)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """``(..., Z)`` and a context that broadcasts to ``(..., n_context)`` -> two of ``(..., Z)``."""
        hidden = F.elu(F.linear(z, self.inner.weight * self.inner_mask, self.inner.bias) + self.context(context))
        first, second = F.linear(hidden, self.out.weight * self.out_mask, self.out.bias).chunk(2, dim=-1)
        return first, second


@dataclass(frozen=True)
class FlowDraw(Draw):
    """Samples, the noise of the Gaussian from which the flow set out, and ``log_det`` of the flow's Jacobian, ``(B,)`` or ``(B, k)``."""

    log_det: Tensor


@dataclass(frozen=True)
class Flowing:
    """The law of z_T where z_0 is of ``base`` and each of ``steps`` maps ``(z, context)`` to the next z and the log-determinants.

    ``mean`` and ``logvar`` of it have no closed form.
    """

    base: Gaussian
    context: Tensor
    steps: nn.ModuleList

    def sample(self, k: int = 0) -> FlowDraw:
        """As of :class:`elboard.methods.parts.posteriors.Gaussian`."""
        draw = self.base.sample(k)
        z, context = draw.z, self.context[:, None] if k else self.context
        log_det = torch.zeros_like(z[..., 0])
        for step in self.steps:
            z, change = step(z, context)
            log_det = log_det + change
        return FlowDraw(z, draw.noise, log_det)

    def log_prob(self, draw: FlowDraw) -> Tensor:
        """By the change of variables: the density of z_0 over the volume that the flow makes of its unit."""
        return self.base.log_prob(draw) - draw.log_det


class GatedStep(MaskedAutoregressive):
    """z -> sigma z + (1 - sigma) m,  sigma = sigmoid(s),  with m and s autoregressive: log-determinant sum log sigma."""

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        mean, gate = super().forward(z, context)
        share = gate.sigmoid()
        return share * z + (1 - share) * mean, F.logsigmoid(gate).sum(-1)


class InverseAutoregressive(nn.Module):
    """Features ``(B, n_features)`` to a diagonal Gaussian and ``steps`` gated steps in alternating order; without steps that Gaussian."""

    def __init__(self, n_features: int, latent_dim: int, steps: int, hidden: int, n_context: int, gate: float):
        super().__init__()
        self.base = DiagonalGaussian(n_features, latent_dim)
        self.context = nn.Linear(n_features, n_context)
        self.steps = nn.ModuleList(GatedStep(latent_dim, hidden, n_context, bool(t % 2)) for t in range(steps))
        self.gate = gate

    def open(self) -> None:
        """Start the gates at sigmoid(``gate``)."""
        for step in self.steps:
            nn.init.constant_(step.out.bias[len(step.out.bias) // 2 :], self.gate)

    def forward(self, features: Tensor) -> Flowing | Gaussian:
        base = self.base(features)
        return Flowing(base, self.context(features), self.steps) if len(self.steps) else base
