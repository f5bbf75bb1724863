"""Networks of a noised example and its time, which compared diffusions share.

Each maps x ``(B, *shape)``, times ``(B,)`` in [0, 1] and, if it has classes, classes ``(B,)`` to ``(B, *shape)``; the class ``n_classes``
stands for none. The last layer begins at 0.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.diffusion_solvers import embedding_of

TIME = 64  # width of the embedding of times


class _Conditions(nn.Module):
    """Sines of the time, and a vector for each class, through one layer: ``(B, width)``."""

    def __init__(self, width: int, n_classes: int):
        super().__init__()
        self.time = nn.Linear(TIME, width)
        self.of_class = nn.Embedding(n_classes + 1, width) if n_classes else None

    def forward(self, t: Tensor, y: Tensor | None) -> Tensor:
        found = self.time(embedding_of(t, TIME))
        if self.of_class is not None:
            found = found + self.of_class(torch.full_like(t, self.of_class.num_embeddings - 1, dtype=torch.long) if y is None else y)
        return F.silu(found)


class TimeMLP(nn.Module):
    """Dense layers of ``hidden`` with SiLU; what is known of time and class is added before each."""

    def __init__(self, shape: tuple[int, ...], hidden: list[int], n_classes: int = 0):
        super().__init__()
        size = math.prod(shape)
        self.conditions = _Conditions(hidden[0], n_classes)
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise([size, *hidden])])
        self.shifts = nn.ModuleList([nn.Linear(hidden[0], b) for b in hidden])
        self.out = nn.Linear(hidden[-1], size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        known, h = self.conditions(t, y), x.flatten(1)
        for layer, shift in zip(self.layers, self.shifts, strict=True):
            h = F.silu(layer(h) + shift(known))
        return self.out(h).view_as(x)


class TimesMLP(nn.Module):
    """Residual dense layers of vectors ``(B, D)`` with M parts, each at a time of its own, ``(B, M)``; the times are added before each."""

    def __init__(self, dimensions: int, parts: int, width: int, blocks: int):
        super().__init__()
        self.time = nn.Linear(parts * TIME, width)
        self.stem = nn.Linear(dimensions, width)
        self.shifts = nn.ModuleList([nn.Linear(width, width) for _ in range(blocks)])
        self.norms = nn.ModuleList([nn.GroupNorm(8, width) for _ in range(blocks)])
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(blocks)])
        self.out = nn.Linear(width, dimensions)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, z: Tensor, times: Tensor) -> Tensor:
        known = F.silu(self.time(embedding_of(times.flatten(), TIME).view(len(z), -1)))
        h = self.stem(z)
        for shift, norm, layer in zip(self.shifts, self.norms, self.layers, strict=True):
            h = h + layer(F.silu(norm(h + shift(known))))
        return self.out(F.silu(h))


class _Block(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut; time and class scale and shift between them (Dhariwal and Nichol 2021)."""

    def __init__(self, inputs: int, outputs: int, known: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.condition = nn.Linear(known, 2 * outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.condition(known)[..., None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.shortcut(x) + h


class UNet(nn.Module):
    """A U-Net of ``levels`` resolutions, each half of the one before, with a block on the way down, one in the middle and one on the way up
    for each (after Ho et al. 2020, without attention): ``width``, twice as many channels below the first.

    0.08 million parameters with width 16 and two levels, 0.13 with three. With ``beside`` it takes an image of x's shape beside x: a first
    layer of both is the sum of one of each, of which that of ``beside`` is made last and has no bias, so that all else is as without it.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 16, levels: int = 2, n_classes: int = 0, beside: bool = False):
        super().__init__()
        known, widths = 4 * width, [width, *[2 * width] * (levels - 1)]
        self.conditions = _Conditions(known, n_classes)
        self.stem = nn.Conv2d(shape[0], width, 3, padding=1)
        self.down = nn.ModuleList([_Block(a, b, known) for a, b in zip([width, *widths], widths, strict=False)])
        self.middle = _Block(widths[-1], widths[-1], known)
        above = [widths[0], *widths]  # what a level gives the one above it
        self.up = nn.ModuleList([_Block(2 * b, a, known) for a, b in zip(above, widths, strict=False)])
        self.norm = nn.GroupNorm(8, width)
        self.out = nn.Conv2d(width, shape[0], 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.beside = nn.Conv2d(shape[0], width, 3, padding=1, bias=False) if beside else None

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        known, h, passed = self.conditions(t, y), self.stem(x), []
        if beside is not None:
            h = h + self.beside(beside)
        for i, block in enumerate(self.down):
            h = block(h if i == 0 else F.avg_pool2d(h, 2, ceil_mode=True), known)
            passed.append(h)
        h = self.middle(h, known)
        for block, skip in zip(reversed(self.up), reversed(passed), strict=True):
            if h.shape[2:] != skip.shape[2:]:
                h = F.interpolate(h, size=skip.shape[2:], mode="nearest")
            h = block(torch.cat([h, skip], 1), known)
        return self.out(F.silu(self.norm(h)))
