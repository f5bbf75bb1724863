"""Convolutions that see what comes earlier in an image, row by row and in each row from the left, of whole images or as these are drawn.

Of ``kind`` "rows" one sees rows up to its own, and columns at both sides; of kind "pixels" rows up to its own, and of these the columns up
to its own. Where it is ``strict`` its own row, or its own column, is left out: that is for the layer that sees the image itself. Both by
padding (van den Oord et al. 2016; Salimans et al. 2017).

While images are drawn, a layer is called with the :class:`Place` that is new: a row for kind "rows", one pixel for kind "pixels". It keeps
those rows of its inputs that it may still see, so that nothing is computed twice (after Ramachandran et al. 2017).

Weights are w = g v / |v|, for each output channel (Salimans and Kingma 2016); :func:`start` sets g and the bias by data.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["rows", "pixels"]


@dataclass
class Place:
    """A row of maps that are ``width`` wide, or a pixel of it, at which images are drawn.

    ``memory`` is what layers keep of earlier places, the same for all places of a drawing.
    """

    row: int
    column: int | None
    width: int
    memory: dict[Hashable, Any] = field(default_factory=dict)

    def halved(self) -> Place:
        """The place in maps of half the size."""
        return Place(self.row // 2, None if self.column is None else self.column // 2, self.width // 2, self.memory)

    @property
    def even(self) -> bool:
        """Whether maps of half the size have a new value here."""
        return self.row % 2 == 0 and (self.column or 0) % 2 == 0

    def once(self, key: Hashable, made: Callable[[], Tensor]) -> Tensor:
        """What ``made`` gave at the first place."""
        if key not in self.memory:
            self.memory[key] = made()
        return self.memory[key]

    def of(self, rows: Tensor) -> Tensor:
        """The part of a row of maps ``(B, C, 1, width)`` that belongs to the place."""
        return rows if self.column is None else rows[..., self.column : self.column + 1]

    def kept(self, key: Hashable, x: Tensor | None) -> Tensor:
        """The values at the place ``(B, C, 1, width or 1)`` of what was last given as x, here or at a place above or before."""
        if x is not None and self.column is not None:
            row = self.memory.get(key)
            row = x.new_zeros(*x.shape[:3], self.width) if row is None else row
            row[..., self.column] = x[..., 0]
            x = row
        if x is not None:
            self.memory[key] = x
        return self.of(self.memory[key])

    def window(self, key: Hashable, x: Tensor, size: tuple[int, int], left: int, right: int) -> Tensor:
        """What a kernel of ``size`` (h, w) sees of all that was given as x, ``(B, C, h, ...)``; x ``(B, C, 1, ...)`` is its last row."""
        seen = self.memory.get(key)
        if seen is None:
            seen = x.new_zeros(*x.shape[:2], size[0], left + self.width + right)
        if self.column is None:
            seen = torch.cat([seen[:, :, 1:], F.pad(x, (left, right))], 2)
        else:
            if self.column == 0:
                seen = F.pad(seen[:, :, 1:], (0, 0, 0, 1))
            seen[:, :, -1, left + self.column] = x[:, :, 0, 0]
        self.memory[key] = seen
        return seen if self.column is None else seen[..., self.column : self.column + size[1]]


class Normalised(nn.Module):
    """A weight of ``shape`` with ``outputs`` channels in its dimension ``across``, and a bias; after :func:`start` outputs have the
    deviation ``scale``."""

    def __init__(self, shape: tuple[int, ...], across: int = 0, scale: float = 1.0):
        super().__init__()
        self.across, self.scale = across, scale
        self.direction = nn.Parameter(0.05 * torch.randn(shape))
        self.length = nn.Parameter(torch.ones(shape[across]))
        self.bias = nn.Parameter(torch.zeros(shape[across]))

    def weight(self, at: Place | None = None) -> Tensor:
        """g v / |v|."""
        if at is not None:
            return at.once((self, "weight"), self.weight)
        v, others = self.direction, [d for d in range(self.direction.ndim) if d != self.across]
        g = self.length.view([-1 if d == self.across else 1 for d in range(v.ndim)])
        return v * (g / v.square().sum(others, keepdim=True).sqrt())


class Pointwise(Normalised):
    """The same linear map at every pixel."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0):
        super().__init__((outputs, inputs, 1, 1), scale=scale)

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        return F.conv2d(x, self.weight(at), self.bias)


class CausalConv(Normalised):
    """A convolution with a kernel of (rows, columns); see the module. With a ``stride`` of 2, for maps of even sizes, it gives values where
    rows and columns are even, and None at places that are not."""

    def __init__(
        self, inputs: int, outputs: int, size: tuple[int, int], kind: Kind, strict: bool = False, stride: int = 1, scale: float = 1.0
    ):
        super().__init__((outputs, inputs, *size), scale=scale)
        (h, w), rows = size, kind == "rows"
        self.size, self.strict, self.stride, self.kind = size, strict, stride, kind
        self.top = h - 1 + (strict and rows)
        self.left, self.right = ((w - 1) // 2, (w - 1) // 2) if rows else (w - 1 + strict, 0)

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor | None:
        """x ``(B, C, H, W)`` whole; or at a place what is new there, and if it is strict the image so far."""
        if at is not None and not self.strict:
            seen = at.window(self, x, self.size, self.left, self.right)
            return self._convolved(seen, at) if self.stride == 1 or at.even else None
        seen = F.pad(x, (self.left, self.right, self.top, 0))
        if at is not None:
            seen = seen[:, :, at.row : at.row + self.size[0]]
            return self._convolved(seen if at.column is None else seen[..., at.column : at.column + self.size[1]], at)
        if self.strict:
            seen = seen[:, :, :-1] if self.kind == "rows" else seen[..., :-1]
        return F.conv2d(seen, self.weight(), self.bias, self.stride)

    def _convolved(self, seen: Tensor, at: Place) -> Tensor:
        if at.column is None:
            return F.conv2d(seen, self.weight(at), self.bias, (1, self.stride))
        return F.linear(seen.flatten(1), self.weight(at).flatten(1), self.bias)[..., None, None]


class Grow(Normalised):
    """Maps of twice the size: a transposed convolution that adds, to each value, to its own 2 x 2 pixels, of kind "rows" to those left of
    them too."""

    def __init__(self, inputs: int, outputs: int, kind: Kind):
        super().__init__((inputs, outputs, 2, 3 if kind == "rows" else 2), across=1)
        self.left = int(kind == "rows")

    def forward(self, x: Tensor | None, at: Place | None = None) -> Tensor:
        """x ``(B, C, H, W)`` whole; or what is new in the small maps at their place, None where nothing is."""
        if at is None:
            return F.conv_transpose2d(x, self.weight(), self.bias, 2)[..., self.left :]
        x, w = at.halved().kept(self, x), self.weight(at)[:, :, at.row % 2 : at.row % 2 + 1]
        if at.column is None:
            return F.conv_transpose2d(x, w, self.bias, (1, 2))[..., self.left :]
        return F.conv_transpose2d(x, w[..., at.column % 2 : at.column % 2 + 1], self.bias)


@torch.no_grad()
def start(network: nn.Module, x: Tensor) -> None:
    """Set lengths and biases so that on ``x`` each layer's outputs have mean 0 and, where they vary, deviation ``scale``."""

    def rescale(layer: Normalised, _: Any, out: Tensor) -> Tensor:
        mean, deviation = out.mean((0, 2, 3)), out.std((0, 2, 3))
        factor = torch.where(deviation > 1e-4, layer.scale / deviation, 1.0)  # in the first row nothing is above, and nothing varies
        layer.length.mul_(factor)
        layer.bias.sub_(mean).mul_(factor)
        return (out - mean[:, None, None]) * factor[:, None, None]

    hooks = [layer.register_forward_hook(rescale) for layer in network.modules() if isinstance(layer, Normalised)]
    was_training = network.training
    network.eval()(x)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
