"""Transformations of training images, each batch's anew."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PAD = 4
CROP, ASPECT, CONTRAST, NOISE = (0.5, 1.0), (0.75, 4 / 3), (0.6, 1.4), (0.0, 0.1)  # of views


def crop_and_flip(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Each image padded by four zeros on every side, cut at a random place, mirrored with probability 0.5."""
    x = batch["x"]
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (PAD, PAD, PAD, PAD))
    corner = torch.randint(2 * PAD + 1, (2, n, 1), generator=generator, device=x.device)
    rows = corner[0] + torch.arange(height, device=x.device)
    columns = corner[1] + torch.arange(width, device=x.device)
    mirrored = torch.rand(n, 1, generator=generator, device=x.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    each = torch.arange(n, device=x.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return {**batch, "x": cut.permute(0, 3, 1, 2).contiguous()}


def two_views(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """``x`` and ``view``: two views of each image, drawn independently."""
    return {**batch, "x": view_of(batch["x"], generator), "view": view_of(batch["x"], generator)}


def view_of(x: Tensor, generator: torch.Generator) -> Tensor:
    """A view of each image ``(B, C, H, W)`` with levels in [0, 1], each drawn by itself.

    A crop of ``CROP`` of the area with an aspect ratio in ``ASPECT``, scaled to the whole by bilinear interpolation and mirrored with
    probability 0.5; contrast times a factor in ``CONTRAST``; Gaussian noise of a deviation in ``NOISE``. All ranges are uniform, that of
    the aspect ratio in its logarithm. Views of one image thus differ in how much they leave of it.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)

    area, aspect = uniform(*CROP), uniform(*map(math.log, ASPECT)).mul(0.5).exp()
    width, height = ((area.sqrt() * of).clamp(max=1) for of in (aspect, 1 / aspect))
    left, top = ((1 - of) * uniform(-1, 1) for of in (width, height))
    side = torch.where(uniform(0, 1) < 0.5, -width, width)
    zero = torch.zeros_like(width)
    theta = torch.stack([side, zero, left, zero, height, top], 1).view(-1, 2, 3)
    cut = torch.nn.functional.grid_sample(x, torch.nn.functional.affine_grid(theta, list(x.shape), False), align_corners=False)
    contrast, deviation = (of[:, None, None, None] for of in (uniform(*CONTRAST), uniform(*NOISE)))
    return (cut * contrast + deviation * torch.randn(x.shape, generator=generator, device=x.device)).clamp(0, 1)
