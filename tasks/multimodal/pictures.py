"""Digits of one class on backgrounds of their own, one a modality (after PolyMNIST, Sutter, Daunhawer and Vogt 2021).

    x_m = b (1 - d) + d (1 - b),   d the digit's grey levels, b a crop of the texture of modality m, (B, 3, H, W)

Each modality has one texture, drawn here, of four times the digits' side; a crop lies anywhere in it. Textures are of levels up to 0.4,
so that digits are seen on all of them; the colours of the background are inverted where a digit is, as in PolyMNIST. ``pooled`` pictures
are 14 x 14: 2 x 2 means of digits and textures.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.tasks.parts.textures import textures

MODALITIES, TEXTURES, BRIGHTEST = 5, 67, 0.4
SIDE, TIMES = 28, 4  # of a digit; of a texture in digits


@functools.lru_cache(maxsize=2)
def backgrounds(pooled: bool) -> Tensor:
    """The textures ``(5, 3, S, S)`` of all modalities."""
    x = torch.from_numpy(textures(MODALITIES, TIMES * SIDE, TEXTURES)).float().permute(0, 3, 1, 2) * (BRIGHTEST / 255)
    return F.avg_pool2d(x, 2) if pooled else x.contiguous()


def partners(y: np.ndarray, modalities: int, rng: np.random.Generator) -> np.ndarray:
    """Positions ``(n, M)`` among examples of classes ``y`` (n,): the first column is 0 to n - 1, and each other one a permutation that
    keeps the class."""
    found = np.tile(np.arange(len(y))[:, None], modalities)
    for column in range(1, modalities):
        for label in np.unique(y):
            (members,) = np.nonzero(y == label)
            found[members, column] = rng.permutation(members)
    return found


def compose(digits: Tensor, background: bool, rng: np.random.Generator, first: int = 0) -> Tensor:
    """Pictures ``(n, M, 3, H, W)`` of digits ``(n, M, H, W)`` in [0, 1], 28 or 14 pixels a side; column m is of modality ``first + m``."""
    n, modalities, side = digits.shape[:3]
    free = (TIMES - 1) * side + 1
    corner = torch.from_numpy(rng.integers(free, size=(n, modalities, 2)))
    d = digits[:, :, None]
    if not background:
        return d.expand(-1, -1, 3, -1, -1).contiguous()
    span, columns = torch.arange(side), []
    for m, texture in enumerate(backgrounds(side < SIDE)[first : first + modalities]):
        rows, across = (corner[:, m, axis, None] + span for axis in (0, 1))
        columns.append(texture[:, rows[:, :, None], across[:, None]].transpose(0, 1))
    b = torch.stack(columns, dim=1)
    return b * (1 - d) + d * (1 - b)
