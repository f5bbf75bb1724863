"""Turned images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Square images ``(N, C, H, H)`` turned counter-clockwise about their centre: bilinear, zeros from outside.

    Computed in double precision on the CPU, so that every machine and device sees the same images.
    """
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    theta = torch.tensor([[c, -s, 0.0], [s, c, 0.0]], dtype=torch.float64)  # from output to input coordinates, the second one downwards
    where = F.affine_grid(theta[None], [1, *x.shape[1:]], align_corners=False).expand(len(x), -1, -1, -1)
    return F.grid_sample(x.double(), where, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)
