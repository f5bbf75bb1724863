"""Test images that are shifted: turned, sheared, deformed, noisy, blurred, faded, brightened, pixelated and covered, at five severities.

All is a function of the image, of its place among the images and of the severity, computed in double precision on the CPU, so that every
machine and device sees the same images. Labels stay. Images are square, ``(N, C, H, H)`` with values in [0, 1]; lengths are in pixels of
images of 28 x 28. Kinds after Hendrycks and Dietterich 2019 and Mu and Gilmer 2019 (MNIST-C), deformations after Simard et al. 2003; the
transforms are ours, and their severities but for those of :data:`COLOUR`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

SEVERITIES = 5
SIDE = 28  # what lengths are of
SMOOTH = 4.0  # pixels over which a deformation is smooth


def spread(n: int, wanted: int) -> slice:
    """``wanted`` of ``n`` positions, evenly spaced: the first half of MNIST's test images is easier than the second."""
    step = max(1, n // wanted)
    return slice(0, step * min(wanted, n), step)


def _resampled(x: Tensor, where: Tensor) -> Tensor:
    """Images at the places ``where`` (N or 1, H, H, 2), from -1 to 1 (double): bilinear, zeros from outside."""
    where = where.expand(len(x), -1, -1, -1)
    return F.grid_sample(x.double(), where, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)


def _affine(x: Tensor, rows: list[list[float]]) -> Tensor:
    """``rows`` (2, 3) lead from output to input coordinates, the second one downwards."""
    theta = torch.tensor(rows, dtype=torch.float64)
    return _resampled(x, F.affine_grid(theta[None], [1, *x.shape[1:]], align_corners=False))


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Images turned counter-clockwise about their centre: bilinear, zeros from outside."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _affine(x, [[c, -s, 0.0], [s, c, 0.0]])


def shear(x: Tensor, slope: float) -> Tensor:
    """Rows moved sideways, by ``slope`` pixels more with each row, the middle left where it is."""
    return _affine(x, [[1.0, slope, 0.0], [0.0, 1.0, 0.0]])


def deform(x: Tensor, pixels: float) -> Tensor:
    """Each image along a smooth random field of displacements whose root mean square is ``pixels`` (of their length)."""
    side = x.shape[-1]
    field = _rng(1).standard_normal((len(x), 2, side, side))
    field = ndimage.gaussian_filter(field, (0, 0, SMOOTH * side / SIDE, SMOOTH * side / SIDE), mode="wrap")
    field /= np.sqrt((field**2).sum(1, keepdims=True).mean((2, 3), keepdims=True))
    still = F.affine_grid(torch.eye(2, 3, dtype=torch.float64)[None], [1, *x.shape[1:]], align_corners=False)
    return _resampled(x, still + torch.from_numpy(field).permute(0, 2, 3, 1) * (2 * pixels / SIDE))


def noise(x: Tensor, deviation: float) -> Tensor:
    """Normal noise added to each pixel, cut to [0, 1]."""
    return _pixels(x, lambda image: np.clip(image + deviation * _rng(2).standard_normal(image.shape), 0, 1))


def impulse(x: Tensor, share: float) -> Tensor:
    """About a ``share`` of the pixels black or white, each for half of them."""

    def change(image: np.ndarray) -> np.ndarray:
        u = _rng(3).random(image.shape)
        return np.where(u < share, (u < share / 2).astype(float), image)

    return _pixels(x, change)


def blur(x: Tensor, pixels: float, mode: str = "constant") -> Tensor:
    """Smoothed by a normal kernel of standard deviation ``pixels``; from outside zeros, or with ``mode`` "nearest" the edge."""
    width = pixels * x.shape[-1] / SIDE
    return _pixels(x, lambda image: ndimage.gaussian_filter(image, (0, 0, width, width), mode=mode))


def contrast(x: Tensor, factor: float) -> Tensor:
    """Each image's differences from its own mean times ``factor``."""
    return _pixels(x, lambda image: factor * image + (1 - factor) * image.mean((1, 2, 3), keepdims=True))


def brighten(x: Tensor, amount: float) -> Tensor:
    """The value of each pixel, its largest channel, raised by ``amount`` up to 1; hue and saturation stay, what is black becomes grey."""

    def change(image: np.ndarray) -> np.ndarray:
        value = image.max(1, keepdims=True)
        raised = np.minimum(value + amount, 1)
        return np.where(value > 0, image * (raised / np.where(value > 0, value, 1)), raised)

    return _pixels(x, change)


def pixelate(x: Tensor, share: float) -> Tensor:
    """Means over the squares of a grid that has a ``share`` of the pixels of each side: of pixels that a line cuts by their area. Each
    pixel shows the square that its centre lies in."""
    side = x.shape[-1]
    few = int(side * share + 1e-9)
    start, pixel = np.arange(few)[:, None] * side / few, np.arange(side)
    area = (np.minimum(start + side / few, pixel + 1) - np.maximum(start, pixel)).clip(0) * few / side
    shown = ((pixel + 0.5) * few / side).astype(int)
    return _pixels(x, lambda image: (area @ image @ area.T)[..., shown[:, None], shown])


def occlude(x: Tensor, pixels: float) -> Tensor:
    """A grey square of side ``pixels`` somewhere within each image."""
    side = x.shape[-1]
    length = round(pixels * side / SIDE)
    corner = _rng(4).integers(0, side - length + 1, (2, len(x), 1))
    rows, columns = ((np.arange(side) >= at) & (np.arange(side) < at + length) for at in corner)
    return _pixels(x, lambda image: np.where((rows[:, :, None] & columns[:, None])[:, None], 0.5, image))


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _pixels(x: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    return torch.from_numpy(change(x.double().numpy())).to(x.dtype)


Kinds = Mapping[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]]

KINDS: Kinds = {
    "rotation": (rotate, (15, 30, 45, 60, 75)),  # degrees
    "shear": (shear, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "deformation": (deform, (0.75, 1.5, 2.25, 3.0, 3.75)),
    "noise": (noise, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "impulse": (impulse, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "blur": (blur, (0.75, 1.25, 1.75, 2.25, 2.75)),
    "contrast": (contrast, (0.7, 0.5, 0.35, 0.25, 0.15)),
    "occlusion": (occlude, (5, 8, 10, 12, 14)),
}
CORRUPTIONS: Kinds = {  # of grey images on black
    **{kind: KINDS[kind] for kind in ("noise", "blur", "contrast")},
    "brightness": (brighten, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "pixelation": (pixelate, (0.6, 0.45, 0.35, 0.25, 0.2)),  # of the side: 16, 12, 9, 7, 5 of 28 pixels
}
COLOUR: Kinds = {  # severities of CIFAR-10-C (Hendrycks and Dietterich 2019, their code for images of 32 x 32)
    "noise": (noise, (0.04, 0.06, 0.08, 0.09, 0.1)),
    "blur": (partial(blur, mode="nearest"), tuple(pixels * SIDE / 32 for pixels in (0.4, 0.6, 0.7, 0.8, 1.0))),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),  # there of each channel's mean
    "brightness": (brighten, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "pixelation": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}


def shifted(x: Tensor, kind: str, severity: int, kinds: Kinds = KINDS) -> Tensor:
    """``x`` (N, C, H, H) under one of ``kinds``, at a severity from 1 to 5. The same noise at each severity, but larger."""
    change, strengths = kinds[kind]
    return change(x, strengths[severity - 1])
