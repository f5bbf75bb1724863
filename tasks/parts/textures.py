"""Coloured textures that are drawn: stripes of one frequency that a smooth field bends, between two colours."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def textures(n: int, side: int, seed: int) -> np.ndarray:
    """``n`` images ``(n, side, side, 3)`` of whole levels from 0 to 255.

    Of each image are drawn two colours, uniform in the cube; the stripes' direction, phase and frequency, 1 to 8 periods an image; how far
    a Gaussian field, smooth over a sixth of the side, bends them, up to half a period of standard deviation; how sharp their edges are,
    from a sine to nearly a square wave; and grain of up to 0.05 standard deviation in each value.
    """
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side

    def each(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1))

    angle, phase, frequency = each(0, np.pi), each(0, 2 * np.pi), 2 ** each(0, 3)
    field = ndimage.gaussian_filter(rng.standard_normal((n, side, side)), (0, side / 6, side / 6), mode="wrap")
    bend = each(0, np.pi) * field / field.std((1, 2), keepdims=True)
    wave = np.sin(2 * np.pi * frequency * (across * np.cos(angle) + down * np.sin(angle)) + phase + bend)
    sharp = 10 ** each(-1, 1)
    share = (0.5 + 0.5 * np.tanh(sharp * wave) / np.tanh(sharp))[..., None]
    first, second = rng.uniform(0, 1, (2, n, 1, 1, 3))
    x = first + (second - first) * share + rng.uniform(0, 0.05, (n, 1, 1, 1)) * rng.standard_normal((n, side, side, 3))
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8)
