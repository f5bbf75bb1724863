"""Grids of images for people to look at."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def shown(images: Tensor) -> int:
    """How many of ``(N, C, H, W)`` a picture shows: three rows of ten, two where colours make files large."""
    return 30 if images.shape[1] == 1 else 20


def grid(images: Tensor, columns: int) -> np.ndarray:
    """``(N, C, H, W)`` in [0, 1] -> uint8 ``(H', W')`` or ``(H', W', 3)``, row by row, one pixel of border, small images enlarged."""
    x = images.detach().float().clamp(0, 1).cpu().numpy()
    scale = max(1, 28 // x.shape[-1])
    x = np.pad(x.repeat(scale, axis=2).repeat(scale, axis=3), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0)
    rows = -(-len(x) // columns)
    x = np.concatenate([x, np.ones((rows * columns - len(x), *x.shape[1:]), x.dtype)])
    n, channels, height, width = x.shape
    sheet = x.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    sheet = (sheet * 255).round().astype(np.uint8)
    return sheet[..., 0] if channels == 1 else sheet
