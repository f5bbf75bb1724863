"""Coloured pictures of one shape, drawn from two attributes: what labelled photographs are to composition, in a few pixels.

A disc, a square, a triangle or a cross, red, green, cyan or violet, on black. Place, size, brightness and a little of the hue are free:
pictures of equal attributes differ.
"""

from __future__ import annotations

import numpy as np

SHAPES = ("disc", "square", "triangle", "cross")
COLOURS = ("red", "green", "cyan", "violet")  # a quarter of the circle of hues apart
WIDTH, FINER = 16, 3  # pixels; points a pixel in each direction
CHUNK = 1000


def draw(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures uint8 ``(N, 16, 16, 3)`` with shapes ``y[:, 0]`` and colours ``y[:, 1]``, from 0."""
    out = np.empty((len(y), WIDTH, WIDTH, 3), np.uint8)
    free = rng.random((len(y), 5))
    for start in range(0, len(y), CHUNK):
        part, u = y[start : start + CHUNK], free[start : start + CHUNK]
        light = (
            inside(part[:, 0], u)[..., None] * hue(part[:, 1] / len(COLOURS) + 0.06 * (u[:, 3] - 0.5), 0.75 + 0.25 * u[:, 4])[:, None, None]
        )
        out[start : start + CHUNK] = np.rint(255 * light)
    return out


def inside(shape: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Shares ``(N, 16, 16)`` of pixels that lie in the shapes, numbers ``(N,)``, of places and size ``u[:, :3]``, uniform numbers."""
    at = (np.arange(FINER * WIDTH) + 0.5) / (FINER * WIDTH)
    r = (0.22 + 0.12 * u[:, 2])[:, None, None]
    dx = at[None, None, :] - (0.35 + 0.3 * u[:, 0])[:, None, None]
    dy = at[None, :, None] - (0.35 + 0.3 * u[:, 1])[:, None, None]
    low, high = np.minimum(np.abs(dx), np.abs(dy)), np.maximum(np.abs(dx), np.abs(dy))
    kinds = (
        np.hypot(dx, dy) <= r,
        high <= 0.85 * r,
        (np.abs(dx) <= 0.55 * (dy + r)) & (dy <= 0.7 * r),
        (low <= 0.3 * r) & (high <= r),
    )
    found = np.select([shape[:, None, None] == k for k in range(len(kinds))], kinds)
    return found.reshape(len(u), WIDTH, FINER, WIDTH, FINER).mean((2, 4))


def hue(h: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Red, green and blue ``(N, 3)`` of saturated colours of hues ``h`` on a circle of length 1."""
    k = (np.array([5, 3, 1]) + 6 * h[:, None]) % 6
    return value[:, None] * (1 - np.clip(np.minimum(k, 4 - k), 0, 1))
