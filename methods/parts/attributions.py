"""What parts of an image a number that a model gives it is due to: segments, LIME's surrogate and Shapley values by KernelSHAP.

A mask z in {0, 1}^M keeps M segments of an image or replaces them, and v(z) is the model's number of what is left. Both explanations are
linear, ``v(z) ~ v_0 + sum_j z_j w_j``; where v is such a function both give its w exactly.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS, COLOUR = 5, 0.1  # of k-means; a difference in colour that counts as much as a segment's width


def segments(x: Tensor, n: int) -> Tensor:
    """About n segments ``(H, W)``, whole numbers from 0 on, of an image ``(C, H, W)``: k-means of colour and place from a grid of centres
    (SLIC, Achanta et al. 2012, with all centres in reach of all pixels and without mending those in pieces)."""
    _, height, width = x.shape
    across = max(1, round(math.sqrt(n * width / height)))
    down = max(1, round(n / across))
    spacing = math.sqrt(height * width / (across * down))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, columns]).flatten(1).T.to(x) / spacing
    points = torch.cat([place, x.flatten(1).T / COLOUR], dim=1)
    label = ((rows * down // height) * across + columns * across // width).flatten().to(x.device)
    for _ in range(ROUNDS):
        chosen = F.one_hot(label, across * down).to(x)
        centres = chosen.T @ points / chosen.sum(0).clamp(min=1)[:, None]
        label = torch.cdist(points, centres).masked_fill(chosen.sum(0) == 0, math.inf).argmin(1)
    return label.unique(return_inverse=True)[1].reshape(height, width)


def replacement(x: Tensor, label: Tensor, fill: str) -> Tensor:
    """What stands where a segment of ``x`` (C, H, W) is taken away: the ``mean`` colour of each, or the image under a ``blur``."""
    if fill == "blur":
        return F.avg_pool2d(F.pad(x[None], (6, 6, 6, 6), mode="replicate"), 13, 1)[0]
    chosen = F.one_hot(label.flatten()).to(x)
    return (x.flatten(1) @ chosen / chosen.sum(0) @ chosen.T).reshape(x.shape)


def masked(x: Tensor, label: Tensor, instead: Tensor, masks: Tensor) -> Tensor:
    """``(N, C, H, W)``: the image with the segments that each row of ``masks`` (N, M) keeps, 1, and ``instead`` elsewhere."""
    kept = masks.to(x)[:, label][:, None]
    return kept * x + (1 - kept) * instead


def surrogate(masks: Tensor, values: Tensor, ridge: float, width: float = 0.25) -> Tensor:
    """LIME's weights ``(M,)`` of masks ``(N, M)`` and values ``(N,)`` (Ribeiro, Singh and Guestrin 2016, eq. 1, as their package has it).

    Ridge regression with an intercept that is free of it; masks count by ``sqrt(exp(-d^2 / width^2))`` with their cosine distance d from
    the whole image, ``1 - sqrt(|z| / M)``.
    """
    z, v = masks.double(), values.double()
    distance = 1 - z.mean(1).sqrt()
    weight = torch.exp(-0.5 * (distance / width) ** 2)
    weight = weight / weight.sum()
    z, v = z - weight @ z, v - weight @ v
    gram = z.T @ (weight[:, None] * z) * len(masks) + ridge * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return torch.linalg.lstsq(gram, z.T @ (weight * v) * len(masks), driver="gelsd" if gram.device.type == "cpu" else None).solution


def coalitions(m: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Masks ``(N, m)`` of m segments, neither all nor none, and their weights in KernelSHAP (Lundberg and Lee 2017, theorem 2).

    All 2^m - 2 with ``(m - 1) / (C(m, s) s (m - s))`` where these are at most n; else n / 2 that are drawn by that law, each with its
    complement, which all weigh the same.
    """
    if 2**m - 2 <= n:
        masks = torch.tensor(list(itertools.product((0, 1), repeat=m))[1:-1]).reshape(-1, m)
        return masks, torch.tensor([(m - 1) / (math.comb(m, s) * s * (m - s)) for s in masks.sum(1).tolist()], dtype=torch.float64)
    size = torch.arange(1, m)
    drawn = size[torch.multinomial(1.0 / (size * (m - size)), n // 2, replacement=True, generator=generator)]
    order = torch.rand(n // 2, m, generator=generator).argsort(1)
    masks = (order < drawn[:, None]).long()
    return torch.cat([masks, 1 - masks]), torch.ones(2 * (n // 2), dtype=torch.float64)


def shapley(masks: Tensor, weights: Tensor, values: Tensor, none: Tensor, whole: Tensor) -> Tensor:
    """Values ``(M,)`` by least squares over coalitions, with the sum ``whole - none`` that they must have."""
    z, w = masks.double(), weights.to(masks.device)
    gram, right = z.T @ (w[:, None] * z), z.T @ (w * (values.double() - none.double()))
    inverse = torch.linalg.pinv(gram, hermitian=True)
    free, ones = inverse @ right, inverse.sum(1)
    return free - ones * (free.sum() - (whole - none).double()) / ones.sum()
