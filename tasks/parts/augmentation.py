"""Transformations of training images, each batch's anew."""

from __future__ import annotations

import torch
from torch import Tensor

PAD = 4


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
