"""Implicit laws: theta = c + g(z) + sigma eps, z ~ N(0, I_d), eps ~ N(0, I_m), and the entropy that a linearised g gives them.

    q(theta) = int N(theta | c + g(z), sigma^2 I_m) N(z | 0, I_d) dz,   J(z) = dg / dz  (m x d),   d <= m
    H ~ E_z (1/2) log det(J^T J + sigma^2 I_d) + (m - d) log sigma + (m / 2) log(2 pi e)        ("jacobian"; exact where g is linear)
      >= E_z (d / 2) log(s_min(J)^2 + sigma^2) + the same constants                             ("smallest")

(Uppal, Stensbo-Smidt, Boomsma and Frellsen 2023, section 3). The d x d form is used, as J J^T alone is singular. s_min is the least
singular value, found by a few steps of the locally optimal preconditioned conjugate gradient method (Knyazev 2001; a block of one, no
preconditioner) from a random direction, which need products with J and J^T alone; the gradient flows through |J v| of the direction found.
Too few steps find a value that is too large. The second form is greatest where all singular values are equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap


class DenseGenerator(nn.Module):
    """A network of dense layers with ELU from ``(S, d)`` to ``(S, m)``; no bias in the last layer, as c is one."""

    def __init__(self, latent: int, hidden: list[int], size: int, scale: float):
        super().__init__()
        sizes = [latent, *hidden, size]
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.weight = nn.ParameterList([nn.Parameter(torch.randn(b, a) / a**0.5) for a, b in pairs])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(b)) for _, b in pairs[:-1]])
        with torch.no_grad():
            self.weight[-1].mul_(scale)
        self.latent = latent

    def forward(self, z: Tensor) -> Tensor:
        for w, b in zip(self.weight, self.bias, strict=False):
            z = nn.functional.elu(nn.functional.linear(z, w, b))
        return nn.functional.linear(z, self.weight[-1])


class MatrixGenerator(nn.Module):
    """Layers X -> A X B + C with ELU, on square matrices: from ``(S, r^2)`` to the first m entries of the last matrix, ``(S, m)``."""

    def __init__(self, side: int, hidden: list[int], size: int, scale: float):
        super().__init__()
        sides = [side, *hidden, math.isqrt(size - 1) + 1]
        pairs = list(zip(sides, sides[1:], strict=False))
        self.left = nn.ParameterList([nn.Parameter(torch.randn(b, a) / a**0.5) for a, b in pairs])
        self.right = nn.ParameterList([nn.Parameter(torch.randn(a, b) / a**0.5) for a, b in pairs])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(b, b)) for _, b in pairs[:-1]])
        with torch.no_grad():
            self.left[-1].mul_(scale)
        self.side, self.size, self.latent = side, size, side**2

    def forward(self, z: Tensor) -> Tensor:
        x = z.unflatten(1, (self.side, self.side))
        for a, b, c in zip(self.left, self.right, self.bias, strict=False):
            x = nn.functional.elu(a @ x @ b + c)
        return (self.left[-1] @ x @ self.right[-1]).flatten(1)[:, : self.size]


def times(g: nn.Module, z: Tensor, v: Tensor) -> Tensor:
    """J(z) v, ``(S, m)`` of ``(S, d)`` each."""
    return jvp(g.forward, (z,), (v,))[1]  # not g itself: torch's counter of operations follows calls of modules, and fails in here


def jacobian(g: nn.Module, z: Tensor) -> Tensor:
    """J(z) of each z, ``(S, m, d)``."""
    columns = vmap(lambda v: times(g, z, v.expand_as(z)))(torch.eye(z.shape[1], dtype=z.dtype, device=z.device))
    return columns.permute(1, 2, 0)


def smallest(g: nn.Module, z: Tensor, steps: int) -> Tensor:
    """An estimate from above of the least singular value of J(z), ``(S,)``, with gradients of the parameters of ``g``."""
    v = direction(g, z, steps)
    return times(g, z, v).norm(dim=1)


@torch.no_grad()
def direction(g: nn.Module, z: Tensor, steps: int) -> Tensor:
    """Unit vectors ``(S, d)`` near the last right singular vector; ones drawn anew where a step fails."""
    drawn = unit(torch.randn_like(z))
    back, v, jv, last = vjp(g.forward, z)[1], drawn, times(g, z, drawn), torch.zeros_like(z)
    for _ in range(steps):
        r = back(jv)[0] - jv.square().sum(1, keepdim=True) * v
        basis = torch.linalg.qr(torch.stack([v, unit(r), unit(last)], dim=2))[0]
        first = (basis[:, :, 0] * v).sum(1, keepdim=True).sign() * jv  # of v, whose product is known
        products = torch.stack([first, *(times(g, z, b) for b in basis.unbind(2)[1:])], dim=2)
        gram = products.transpose(1, 2) @ products
        fine = torch.isfinite(gram).all(2).all(1)[:, None]
        some = torch.where(fine[:, :, None], gram, torch.eye(gram.shape[1], dtype=z.dtype, device=z.device))
        least = torch.linalg.eigh(some)[1][:, :, :1]
        found = (basis @ least)[:, :, 0]
        last = torch.where(fine, found - (found * v).sum(1, keepdim=True) * v, 0.0)
        v, jv = torch.where(fine, found, drawn), torch.where(fine, (products @ least)[:, :, 0], jv)
    return v


def unit(v: Tensor) -> Tensor:
    return nn.functional.normalize(v, dim=1, eps=1e-20)


def entropy(g: nn.Module, z: Tensor, sd: float, size: int, kind: str, steps: int = 3) -> Tensor:
    """Of the law at each z, in nats, ``(S,)``, with all constants; ``kind`` is "jacobian" or "smallest"."""
    d = z.shape[1]
    if kind == "smallest":
        half = 0.5 * d * (smallest(g, z, steps).square() + sd**2).log()
    else:
        of = jacobian(g, z)
        half = 0.5 * torch.linalg.slogdet(of.transpose(1, 2) @ of + sd**2 * torch.eye(d, dtype=z.dtype, device=z.device))[1]
    return half + (size - d) * math.log(sd) + 0.5 * size * math.log(2 * math.pi * math.e)
