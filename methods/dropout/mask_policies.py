"""Networks that give the logits of a layer's mask, from what a sampler may look at: masks of layers before, activations, labels.

Each is called with ``past`` (B, M), the masks of all layers before (M = 0 for the first), activations ``h`` (B, K) of this one and labels
``y`` (B, C), one-hot, and gives logits ``(B, K)`` of its units being on. At the start these are the same for all: those of one rate.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTH, FEATURES = 32, 10  # of each hidden layer, and of what y, h and past masks are brought to before they meet


def mlp(sizes: list[int], start: float | None = None) -> nn.Sequential:
    """Linear layers with leaky ReLU and layer normalisation between; with ``start`` it begins as that constant."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU(), nn.LayerNorm(b)]
    last = layers[-3]
    if start is not None:
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, start)
    return nn.Sequential(*layers[:-2])


class Factorised(nn.Module):
    """Logits of their own, whatever came before: units are independent of each other."""

    def __init__(self, past: int, units: int, classes: int, start: float):
        super().__init__()
        self.logits = nn.Parameter(torch.full((units,), start))

    def forward(self, past: Tensor, h: Tensor, y: Tensor | None) -> Tensor:
        return self.logits.expand(len(h), -1)


class OfMasks(nn.Module):
    """From the masks of layers before; a zero for the first."""

    def __init__(self, past: int, units: int, classes: int, start: float):
        super().__init__()
        self.net = mlp([past + 1, WIDTH, WIDTH, units], start)

    def forward(self, past: Tensor, h: Tensor, y: Tensor | None) -> Tensor:
        return self.net(nn.functional.pad(past, (0, 1)))


class OfImages(nn.Module):
    """From these and the activations: what masks are drawn by where the label is not known."""

    def __init__(self, past: int, units: int, classes: int, start: float):
        super().__init__()
        self.net = mlp([past + units, WIDTH, WIDTH, units], start)

    def forward(self, past: Tensor, h: Tensor, y: Tensor | None) -> Tensor:
        return self.net(torch.cat((past, h), 1))


class OfLabels(nn.Module):
    """From these and the label, each by a network of its own, so that the label, the smallest, is not passed over."""

    def __init__(self, past: int, units: int, classes: int, start: float):
        super().__init__()
        self.nets = nn.ModuleList(mlp([inputs, WIDTH, WIDTH, FEATURES]) for inputs in (past + 1, units, classes))
        self.joint = mlp([3 * FEATURES, WIDTH, units], start)

    def forward(self, past: Tensor, h: Tensor, y: Tensor) -> Tensor:
        given = (nn.functional.pad(past, (0, 1)), h, y)
        return self.joint(torch.cat([net(of) for net, of in zip(self.nets, given, strict=True)], 1))
