"""Distributional sliced Wasserstein distance (Nguyen, Ho, Pham and Bui 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sliced(x: Tensor, y: Tensor, along: Tensor) -> Tensor:
    """Mean over the directions ``along`` (P, D) of the squared second Wasserstein distance of the projections of ``x`` and ``y`` (N, D)."""
    return ((x @ along.T).sort(0).values - (y @ along.T).sort(0).values).square().mean()


class DSWD(nn.Module):
    """max over F of SW(x, y; F theta / |F theta|) - penalty E |cos(F theta_i, F theta_j)|, theta uniform on the sphere; F is linear.

    :meth:`forward` first improves F, by ``inner`` steps of Adam at the rate ``lr``, then gives the root of the distance along its
    directions, with gradients for ``x`` alone.
    """

    def __init__(self, dim: int, projections: int, inner: int, lr: float = 5e-4, penalty: float = 100.0):
        super().__init__()
        self.turn, self.projections, self.inner, self.penalty = nn.Linear(dim, dim), projections, inner, penalty
        self.optimizer = torch.optim.Adam(self.turn.parameters(), lr=lr)

    def directions(self) -> Tensor:
        theta = nn.functional.normalize(torch.randn(self.projections, self.turn.in_features, device=self.turn.weight.device), dim=1)
        return nn.functional.normalize(self.turn(theta), dim=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            for _ in range(self.inner):
                along = self.directions()
                objective = sliced(x.detach(), y, along) - self.penalty * (along @ along.T).abs().mean()
                self.optimizer.zero_grad()
                (-objective).backward()
                self.optimizer.step()
        return sliced(x, y, self.directions().detach()).sqrt()
