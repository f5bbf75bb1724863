"""Autoencoders of images whose codes have places, as of latent diffusion models, their normalisations, and a discriminator of patches."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS, EPS = 8, 1e-6


class GroupNorm(nn.GroupNorm):
    """Over groups of channels and all places, with a scale and a shift for each channel; takes no notice of the code."""

    def __init__(self, channels: int):
        super().__init__(GROUPS, channels, EPS)

    def forward(self, maps: Tensor, z: Tensor | None = None) -> Tensor:
        return super().forward(maps)


class SCN(nn.Module):
    """Spatially conditional normalisation (as in MoVQ, Zheng et al. 2022).

    maps' = g(z) * (maps - mean) / std + b(z), with the statistics of groups of channels over all places, and g, b 1 x 1 convolutions of the
    code ``z`` (B, c, h, w), repeated to the size of the maps. It begins as g = 1, b = 0: group normalisation without scale and shift.
    """

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.scale, self.shift = nn.Conv2d(code, channels, 1), nn.Conv2d(code, channels, 1)
        for module, bias in ((self.scale, 1.0), (self.shift, 0.0)):
            nn.init.zeros_(module.weight)
            nn.init.constant_(module.bias, bias)

    def forward(self, maps: Tensor, z: Tensor) -> Tensor:
        z = F.interpolate(z, maps.shape[2:], mode="nearest")
        return self.scale(z) * F.group_norm(maps, GROUPS, eps=EPS) + self.shift(z)


class SpatialEncoder(nn.Module):
    """Images ``(B, C, H, W)`` to mean and log-variance of codes, each ``(B, code, H / 2^n, W / 2^n)`` with n ``widths``."""

    def __init__(self, channels: int, widths: list[int], code: int, padding: str):
        super().__init__()
        conv = partial(nn.Conv2d, padding=1, padding_mode=padding)
        layers: list[nn.Module] = [conv(channels, widths[0], 3)]
        for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True):
            layers += [GroupNorm(a), nn.SiLU(), conv(a, b, 3, stride=2)]
        self.layers = nn.Sequential(*layers, GroupNorm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * code, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.layers(x).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)  # as in latent diffusion


class SpatialDecoder(nn.Module):
    """Codes to images: n times a normalisation, an activation, doubling by repetition and a convolution, then those of the output."""

    def __init__(self, channels: int, widths: list[int], code: int, padding: str, norm: str):
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=3, padding=1, padding_mode=padding)
        down = [widths[0], *widths]
        self.first = conv(code, widths[-1])
        self.convs = nn.ModuleList(conv(a, b) for a, b in zip(reversed(down[1:]), reversed(down[:-1]), strict=True))
        of = [*reversed(down)]
        self.norms = nn.ModuleList(GroupNorm(width) if norm == "group" else SCN(width, code) for width in of)
        self.out = conv(widths[0], channels)
        nn.init.constant_(self.out.bias, 0.5)  # grey

    def forward(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images, and the maps before each normalisation."""
        maps = [self.first(z)]
        for norm, conv in zip(self.norms, self.convs, strict=False):
            maps.append(conv(F.interpolate(F.silu(norm(maps[-1], z)), scale_factor=2, mode="nearest")))
        return self.out(F.silu(self.norms[-1](maps[-1], z))), maps


class PatchDiscriminator(nn.Sequential):
    """A logit for each patch of an image (Isola et al. 2017), three layers."""

    def __init__(self, channels: int):
        act = partial(nn.LeakyReLU, 0.2)
        super().__init__(nn.Conv2d(channels, 16, 4, 2, 1), act(), nn.Conv2d(16, 32, 4, 2, 1), act(), nn.Conv2d(32, 1, 3, 1, 1))


class RandomFeatures(nn.Module):
    """What stands for LPIPS: squared distances of features of two fixed random convolutions, each place's of unit length."""

    def __init__(self, channels: int):
        super().__init__()
        noise = torch.Generator().manual_seed(0)
        for name, a, b in (("first", channels, 16), ("second", 16, 32)):
            self.register_buffer(name, torch.randn(b, a, 3, 3, generator=noise) * (2 / (9 * a)) ** 0.5)

    def features(self, x: Tensor) -> list[Tensor]:
        first = F.conv2d(x - 0.5, self.first, stride=2, padding=1).relu()
        return [F.normalize(of, dim=1) for of in (first, F.conv2d(first, self.second, stride=2, padding=1).relu())]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean over images and places of the squared distance, summed over both layers."""
        pairs = zip(self.features(x), self.features(y), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, half the mean of relu(1 - D(x)) and of relu(1 + D(x'))."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
