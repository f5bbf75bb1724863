"""Strided convolutional encoders and the decoders that mirror them, as boards of images name them: ``conv-16-32-64``.

Each number is the width of a 4 x 4 convolution of stride 2 with a ReLU after it; a hidden layer of 128 units (256 from four convolutions
on, as in Higgins et al. 2017 and Locatello et al. 2019) stands between the last one and the code, on both sides.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError


def widths(name: str, shape: tuple[int, ...]) -> list[int]:
    """``"conv-16-32-64"`` -> ``[16, 32, 64]``. Raises UserError for another name or for images that cannot be halved as often."""
    kind, *numbers = name.split("-")
    if kind != "conv" or not numbers or not all(number.isdecimal() for number in numbers):
        raise UserError(f"network {name!r} is not of the form conv-16-32-64")
    if any(side % 2 ** len(numbers) for side in shape[1:]):
        raise UserError(f"network {name!r} halves images {len(numbers)} times, and {shape[1]} x {shape[2]} cannot be")
    return [int(number) for number in numbers]


def _hidden(channels: list[int]) -> int:
    return 256 if len(channels) > 3 else 128


class ConvEncoder(nn.Sequential):
    """Images ``(B, C, H, W)`` to features ``(B, n_features)``."""

    def __init__(self, name: str, shape: tuple[int, ...]):
        channels, (h, w) = widths(name, shape), shape[1:]
        layers: list[nn.Module] = []
        for a, b in zip([shape[0], *channels], channels, strict=False):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
        flat = channels[-1] * math.prod(side >> len(channels) for side in (h, w))
        super().__init__(*layers, nn.Flatten(), nn.Linear(flat, _hidden(channels)), nn.ReLU())
        self.n_features = _hidden(channels)


class ConvDecoder(nn.Sequential):
    """Codes ``(N, Z)`` to maps ``(N, first width, H / 2, W / 2)``, which :class:`ConvOutput` turns into pixels."""

    def __init__(self, name: str, shape: tuple[int, ...], latent_dim: int):
        channels = widths(name, shape)
        small = [side >> len(channels) for side in shape[1:]]
        hidden = _hidden(channels)
        layers: list[nn.Module] = [nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, channels[-1] * math.prod(small)), nn.ReLU()]
        layers.append(nn.Unflatten(1, (channels[-1], *small)))
        for a, b in zip(reversed(channels), reversed(channels[:-1]), strict=False):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU()]
        super().__init__(*layers)
        self.n_features = channels[0]


class ConvOutput(nn.Module):
    """The last transposed convolution, flattened to ``(N, D)``, with a bias for each pixel so that it can start at the mean image."""

    def __init__(self, n_features: int, shape: tuple[int, ...]):
        super().__init__()
        like = nn.ConvTranspose2d(n_features, shape[0], 4, 2, 1)
        self.weight, self.bias = like.weight, nn.Parameter(torch.zeros(math.prod(shape)))

    def forward(self, maps: Tensor) -> Tensor:
        return F.conv_transpose2d(maps, self.weight, None, 2, 1).flatten(1) + self.bias
