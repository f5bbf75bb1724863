"""Convolutions from images to features at places, and back: each of two halvings rounds up, as of 14 x 14 pixels to 7 x 7 and 4 x 4."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 64)


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Of the image, of its half and of a quarter."""
    half = (-(-height // 2), -(-width // 2))
    return [(height, width), half, (-(-half[0] // 2), -(-half[1] // 2))]


def stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, normalised in groups of channels, with ReLU: nothing in it mixes the images of a batch."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.ReLU())


class MapCNN(nn.Module):
    """Images ``(B, C, H, W)`` to ``channels`` features at a quarter of the places each way, ``(B, channels, H / 4, W / 4)``.

    As a backbone its features are their means over places.
    """

    def __init__(self, shape: tuple[int, ...], channels: int = 32):
        super().__init__()
        a, b, c = WIDTHS
        self.layers = nn.Sequential(stage(shape[0], a), stage(a, b, 2), stage(b, c, 2), nn.Conv2d(c, channels, 3, padding=1))
        self.n_features, self.grid = channels, sizes(*shape[1:])[2]

    def places(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.places(x).mean((2, 3))


class MapDecoder(nn.Module):
    """The way back, to ``shape``: a stage at each size, scaled up by the nearest place between them."""

    def __init__(self, shape: tuple[int, ...], channels: int):
        super().__init__()
        c, b, a = 64, 32, 16
        self.sizes = sizes(*shape[1:])
        self.stages = nn.ModuleList([stage(channels, c), stage(c, b), stage(b, a)])
        self.out = nn.Conv2d(a, shape[0], 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        for part, size in zip(self.stages, reversed(self.sizes), strict=True):
            z = part(F.interpolate(z, size=size, mode="nearest"))
        return self.out(z)
