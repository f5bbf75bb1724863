"""Artefacts of reconstructions ``y`` of images ``x``, both ``(N, C, H, W)`` in [0, 1], as sums for each image from which the metrics
follow."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 4  # side of a corner, in pixels
BAND = 0.25  # from which frequency on detail is fine, in cycles a pixel
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for a peak of 1


def _power(x: np.ndarray) -> np.ndarray:
    """Power spectrum, summed over channels: ``(N, H, W)``."""
    return (np.abs(np.fft.fft2(x)) ** 2).sum(axis=1)


def fine_detail(x: np.ndarray) -> np.ndarray:
    """Energy at frequencies above :data:`BAND`, ``(N,)``."""
    h, w = x.shape[-2:]
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None])
    return (_power(x) * (radius > BAND)).sum(axis=(1, 2))


def grid_power(residual: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of what repeats every ``factor`` pixels, without the constant, and of the frequencies next to those, each ``(N,)``."""
    h, w = residual.shape[-2:]
    on = np.zeros((h, w), bool)
    on[:: h // factor, :: w // factor] = True
    on[0, 0] = False
    beside = np.logical_or.reduce([np.roll(on, (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]) & ~on
    power = _power(residual)
    return power[:, on].mean(axis=1), power[:, beside].mean(axis=1)


def corners_and_centre(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared residual in the four corners, and in the half by half in the middle, each ``(N,)``."""
    square, (h, w) = (residual**2).mean(axis=1), residual.shape[-2:]
    corners = [square[:, rows, columns] for rows in (slice(PATCH), slice(-PATCH, None)) for columns in (slice(PATCH), slice(-PATCH, None))]
    return np.mean(corners, axis=(0, 2, 3)), square[:, h // 4 : h - h // 4, w // 4 : w - w // 4].mean(axis=(1, 2))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each image, ``(N,)``: mean over channels and all places, images continued by reflection (Wang et al.
    2004)."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    line = torch.exp(-0.5 * (at / SIGMA) ** 2)
    window = torch.outer(line, line) / line.sum() ** 2
    c = x.shape[1]

    def mean(of: Tensor) -> Tensor:
        return F.conv2d(F.pad(of, [WINDOW // 2] * 4, mode="reflect"), window.expand(c, 1, WINDOW, WINDOW), groups=c)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return (((2 * mx * my + C1) * (2 * cov + C2)) / ((mx**2 + my**2 + C1) * (vx + vy + C2))).mean((1, 2, 3))


def spikes(maps: list[Tensor]) -> Tensor:
    """Largest norm over channels of a map's places over their median, of the worst map of each image, ``(N,)``."""
    norms = [of.norm(dim=1).flatten(1) for of in maps]
    return torch.stack([norm.amax(1) / norm.median(1).values.clamp(min=1e-12) for norm in norms]).amax(0)
