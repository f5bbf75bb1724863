"""Gated PixelCNN (van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu 2016).

    v <- tanh(a) * sigmoid(b),       (a, b) = conv_{n x n}(v)                            vertical stack: all rows above
    h <- h + W tanh(a) * sigmoid(b),   (a, b) = conv_{1 x n}(h) + W' conv_{n x n}(v)       horizontal stack: the row so far, and v
    p(x_i | x_<i) = softmax over the 256 levels of W'' relu(W' relu(h))

Without blind spot, as v sees all columns of all rows above. The head may be a mixture of logistics too, as that of ``pixelcnnpp`` may be
a softmax.

Differences from the paper: few layers and filters, kernels of 7 x 7 and then 3 x 3 pixels; channels of a pixel are conditioned on in the
head, where the paper masks thirds of all maps; weight normalisation and the average of weights of ``pixelcnnpp``, with which it is
compared; no classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.options import Count
from elboard.methods.autoregressive.base import Autoregressive, PixelNetwork
from elboard.methods.parts.causal import CausalConv, Place, Pointwise

CARD = MethodCard(
    name="gated-pixelcnn",
    title="Gated PixelCNN",
    family="autoregressive",
    home="generation/mnist-grey14",
    cite="van den Oord et al. 2016",
    splits=True,
    defaults="convention",
)


def gate(x: Tensor) -> Tensor:
    """tanh(a) * sigmoid(b) of the halves of the channels."""
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class Layer(nn.Module):
    """A layer of both stacks; the first one sees the image, and no pixel itself."""

    def __init__(self, inputs: int, width: int, size: int, first: bool):
        super().__init__()
        half = size // 2
        self.vertical = CausalConv(inputs, 2 * width, (half + (not first), size), "rows", strict=first)
        self.horizontal = CausalConv(inputs, 2 * width, (1, half + (not first)), "pixels", strict=first)
        self.link = Pointwise(2 * width, 2 * width)
        self.out = Pointwise(width, width)
        self.first = first

    def rows(self, v: Tensor, at: Place | None) -> tuple[Tensor, Tensor]:
        """The vertical stack after the layer, and what the horizontal one sees of it."""
        found = self.vertical(v, at)
        return gate(found), self.link(found, at)

    def pixels(self, h: Tensor, known: Tensor, at: Place | None) -> Tensor:
        known = known if at is None else at.of(known)
        found = self.out(gate(self.horizontal(h, at) + known), at)
        return found if self.first else h + found


class TwoStacks(PixelNetwork):
    """Vertical and horizontal stack of images of ``channels``."""

    def __init__(self, c: Any, channels: int, head: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList([Layer(channels + 1, c.width, 7, True)])
        self.layers.extend(Layer(c.width, c.width, 3, False) for _ in range(c.layers - 1))
        self.head = head
        self.hidden = Pointwise(c.width, 2 * c.width)
        self.out = Pointwise(2 * c.width, head.n_outputs)

    def rows(self, x: Tensor, at: Place | None = None) -> dict[Any, Tensor]:
        known = {}
        for i, layer in enumerate(self.layers):
            x, known[i] = layer.rows(x, at)
        return known

    def pixels(self, x: Tensor, known: dict[Any, Tensor], at: Place | None = None) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer.pixels(x, known[i], at)
        return self.out(F.relu(self.hidden(F.relu(x), at)), at)


class GatedPixelCNN(Autoregressive):
    """Trained on the exact likelihood."""

    @dataclass(kw_only=True)
    class Config(Autoregressive.Config):
        head: Literal["logistics", "softmax"] = "softmax"
        width: Count = 24
        layers: Count = 6

    def make_network(self) -> TwoStacks:
        return TwoStacks(self.config, self.image[0], self.make_head())
