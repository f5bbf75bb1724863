"""Binary pictures drawn from six binary attributes: what CelebA's attributes are to faces, in a few strokes.

A disc or a square, filled or in outline, large or small, in the left or the right half, the upper or the lower one, on a plain or a striped
background. Within these place, size, angle and the stripes' phase are free: pictures of equal attributes differ.
"""

from __future__ import annotations

import numpy as np

ATTRIBUTES = ("round", "filled", "large", "left", "upper", "striped")
WIDTH = 32
PERIOD = 8  # of the stripes, in pixels
LINE, GAP = 0.05, 0.04  # width of outlines, and what is left free around a shape, in widths of the picture


def every() -> np.ndarray:
    """All combinations of attributes, ``(64, 6)``."""
    return (np.arange(64)[:, None] >> np.arange(6)) & 1


def draw(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures uint8 of 0 and 1, ``(N, 32, 32)``, with attributes ``y`` (N, 6)."""
    out = np.empty((len(y), WIDTH, WIDTH), np.uint8)
    at = (np.arange(WIDTH) + 0.5) / WIDTH
    free = rng.random((len(y), 5))
    for start in range(0, len(y), 1000):
        part, u = y[start : start + 1000, :, None, None].astype(bool), free[start : start + 1000, :, None, None]
        disc, filled, large, left, upper, striped = (part[:, k] for k in range(6))
        size = np.where(large, 0.18, 0.12) + 0.03 * u[:, 0]
        dx = at[None, None, :] - (np.where(left, 0.23, 0.57) + 0.2 * u[:, 1])
        dy = at[None, :, None] - (np.where(upper, 0.23, 0.57) + 0.2 * u[:, 2])
        angle = 0.7 * (u[:, 3] - 0.5)
        turned = np.maximum(np.abs(np.cos(angle) * dx + np.sin(angle) * dy), np.abs(np.cos(angle) * dy - np.sin(angle) * dx)) / 0.9
        r = np.where(disc, np.hypot(dx, dy), turned)
        shape = (r <= size) & (filled | (r > size - LINE))
        stripes = striped & (r > size + GAP) & ((np.arange(WIDTH) + np.floor(PERIOD * u[:, 4])) % PERIOD == 0)
        out[start : start + 1000] = shape | stripes
    return out
