"""Closed Riemannian manifolds in a Euclidean space, as spaces of codes: projections, volumes, curvatures (Perez Rey et al. 2020).

Points are ambient vectors ``(..., n)``. Each manifold has its intrinsic ``dim`` d, its ``ambient`` dimension n and its ``volume``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elboard.bench.errors import UserError, nearest

TINY = 1e-8  # keeps the projection of 0 finite


def unit(h: Tensor) -> Tensor:
    """Vectors of length 1 along the last dimension."""
    return h / h.norm(dim=-1, keepdim=True).clamp(min=TINY)


class Sphere:
    """The unit sphere S^d in R^(d+1): S = d (d - 1), volume 2 pi^((d+1)/2) / Gamma((d+1)/2)."""

    def __init__(self, dim: int):
        self.dim, self.ambient = dim, dim + 1
        self.volume = 2 * math.pi ** ((dim + 1) / 2) / math.gamma((dim + 1) / 2)

    def project(self, h: Tensor) -> Tensor:
        """The nearest point."""
        return unit(h)

    def curvature(self, z: Tensor) -> Tensor:
        """Scalar curvature at the points, ``(...)``."""
        return torch.full(z.shape[:-1], float(self.dim * (self.dim - 1)), device=z.device)

    def uniform(self, n: int, like: Tensor) -> Tensor:
        """``n`` points by the uniform law, on the device of ``like``."""
        return unit(torch.randn(n, self.ambient, device=like.device))

    def circles(self, z: Tensor) -> Tensor:
        """Angles ``(..., c)`` on the c circles whose product the manifold is: those whose winding numbers tell its loops apart."""
        return torch.atan2(z[..., 1:2], z[..., :1]) if self.dim == 1 else z[..., :0]


class FlatTorus:
    """The Clifford torus, d unit circles in R^(2 d): S = 0, volume (2 pi)^d."""

    def __init__(self, dim: int):
        self.dim, self.ambient, self.volume = dim, 2 * dim, (2 * math.pi) ** dim

    def project(self, h: Tensor) -> Tensor:
        return unit(h.unflatten(-1, (self.dim, 2))).flatten(-2)

    def curvature(self, z: Tensor) -> Tensor:
        return torch.zeros(z.shape[:-1], device=z.device)

    def uniform(self, n: int, like: Tensor) -> Tensor:
        return self.project(torch.randn(n, self.ambient, device=like.device))

    def circles(self, z: Tensor) -> Tensor:
        pairs = z.unflatten(-1, (self.dim, 2))
        return torch.atan2(pairs[..., 1], pairs[..., 0])


class RingTorus:
    """The torus in R^3 about the third axis, core circle of radius c, tube of radius a: S = 2 cos(phi) / (a (c + a cos(phi))) at the
    angle phi around the tube, volume 4 pi^2 c a."""

    core, tube = 3.0, 0.6  # c and a of section 5

    def __init__(self, dim: int):
        if dim != 2:
            raise UserError(f"dim={dim}: the torus in R^3 has dimension 2")
        self.dim, self.ambient, self.volume = 2, 3, 4 * math.pi**2 * self.core * self.tube

    def project(self, h: Tensor) -> Tensor:
        """First to the core circle, then to the distance a from it."""
        flat = torch.cat([unit(h[..., :2]) * self.core, torch.zeros_like(h[..., 2:])], dim=-1)
        return flat + self.tube * unit(h - flat)

    def _around(self, z: Tensor) -> Tensor:
        return torch.atan2(z[..., 2], z[..., :2].norm(dim=-1) - self.core)

    def curvature(self, z: Tensor) -> Tensor:
        cos = self._around(z).cos()
        return 2 * cos / (self.tube * (self.core + self.tube * cos))

    def uniform(self, n: int, like: Tensor) -> Tensor:
        """By area, which is proportional to c + a cos(phi): phi by its distribution function, inverted on a grid."""
        phi = torch.linspace(-math.pi, math.pi, 2001, device=like.device)
        share = (self.core * (phi + math.pi) + self.tube * phi.sin()) / (2 * math.pi * self.core)
        u, theta = torch.rand(n, device=like.device), 2 * math.pi * torch.rand(n, device=like.device)
        i = torch.searchsorted(share, u).clamp(1, len(phi) - 1)
        at = phi[i - 1] + (phi[i] - phi[i - 1]) * (u - share[i - 1]) / (share[i] - share[i - 1])
        radius = self.core + self.tube * at.cos()
        return torch.stack([radius * theta.cos(), radius * theta.sin(), self.tube * at.sin()], dim=1)

    def circles(self, z: Tensor) -> Tensor:
        return torch.stack([torch.atan2(z[..., 1], z[..., 0]), self._around(z)], dim=-1)


Manifold = Sphere | FlatTorus | RingTorus


def manifold(name: str, dim: int) -> Manifold:
    """The manifold called ``name`` of ``dim`` dimensions. Raises UserError for an unknown one."""
    known = {"sphere": Sphere, "torus": FlatTorus, "torus-r3": RingTorus}
    if name not in known:
        raise UserError(f"no manifold {name!r}: {nearest(name, known)}")
    return known[name](dim)
