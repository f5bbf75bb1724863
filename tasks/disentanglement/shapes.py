"""Binary images of one shape each, drawn from five factors: what dSprites (Matthey et al. 2017) is made of, in pixels of our own.

Factors: shape (square, ellipse, heart), scale from 0.5 to 1, orientation over the whole circle, position x (to the right) and y (upwards).
A pixel is 1 where its centre lies in the shape. The square has four orientations that look alike and the ellipse two, as there.
"""

from __future__ import annotations

import numpy as np

FACTORS = ("shape", "scale", "orientation", "x", "y")
CONTINUOUS = (False, True, False, True, True)  # orientation is a circle
RADIUS, MARGIN = 0.23, 0.28  # of the largest shape, and of the positions from the edge, in widths of the image


def factors_of(index: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The factors ``(N, K)`` of images by their number in the grid of all combinations, the last factor running fastest."""
    return np.stack(np.unravel_index(index, sizes), axis=1)


def inside(shape: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points, in units of the shape's size, lie in square (0), ellipse (1) or heart (2); u to the right, v upwards."""
    square = np.maximum(np.abs(u), np.abs(v)) <= 0.75
    ellipse = u**2 + (v / 0.55) ** 2 <= 1
    r = (1.25 * u) ** 2 + (1.25 * v) ** 2 - 1
    heart = r**3 <= (1.25 * u) ** 2 * (1.25 * v) ** 3
    return np.select([shape == 0, shape == 1], [square, ellipse], heart)


def render(factors: np.ndarray, sizes: tuple[int, ...], width: int) -> np.ndarray:
    """Images uint8 of 0 and 1, ``(N, width, width)``, of ``factors`` (N, 5), each below its number in ``sizes``."""
    out = np.empty((len(factors), width, width), np.uint8)
    centres = (np.arange(width) + 0.5) / width
    for start in range(0, len(factors), 1000):
        part = factors[start : start + 1000, :, None, None]
        share = [part[:, k] / max(1, sizes[k] - 1) for k in range(5)]
        size, angle = RADIUS * (0.5 + 0.5 * share[1]), 2 * np.pi * part[:, 2] / sizes[2]
        dx = centres[None, None, :] - (MARGIN + (1 - 2 * MARGIN) * share[3])
        dy = (1 - MARGIN - (1 - 2 * MARGIN) * share[4]) - centres[None, :, None]
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        out[start : start + 1000] = inside(part[:, 0], u / size, v / size)
    return out
