"""Populations of the small convolutional networks of model zoos, side by side as grouped convolutions and batched matrix products.

    conv 1 -> 8 (5x5), pool, act, conv 8 -> 6 (5x5), pool, act, conv 6 -> 4 (2x2), act, linear -> 20, act, linear -> classes

2,464 weights for 28 x 28 images and ten classes (Schuerholt et al. 2022, as the zoos' public generator has it). The weights of all are one
matrix ``(G, P)``, a network a row: of each layer first the weights, then the biases. Networks of the first half have tanh, those of the
second rectifiers. None has a weight of another, so that each trains as it would alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.zoo import Population
from elboard.bench.method import Method, at_least_single
from elboard.bench.task import Batch

BIAS = 0.01  # at the start


class Zoo:
    """The shapes of one network and passes of many."""

    def __init__(self, spec: ClassSpec):
        side = ((spec.shape[-1] - 4) // 2 - 4) // 2 - 1
        self.shapes = [(8, spec.shape[0], 5, 5), (6, 8, 5, 5), (4, 6, 2, 2), (20, 4 * side**2), (spec.n_classes, 20)]
        self.sizes = [n for shape in self.shapes for n in (math.prod(shape), shape[0])]

    def begin(self, models: int) -> Tensor:
        """Weights ``(G, P)``, uniform within one over the root of a unit's inputs."""
        rows = []
        for _ in range(models):
            for shape in self.shapes:
                limit = math.prod(shape[1:]) ** -0.5
                rows += [torch.empty(math.prod(shape)).uniform_(-limit, limit), torch.full((shape[0],), BIAS)]
        return torch.cat(rows).view(models, -1)

    def parts(self, theta: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights ``(G, out, in, ...)`` and biases ``(G, out)`` of each layer of ``theta`` (G, P), as views."""
        pieces = theta.split(self.sizes, dim=1)
        return [(w.unflatten(1, shape), b) for w, b, shape in zip(pieces[::2], pieces[1::2], self.shapes, strict=True)]

    def weights(self, theta: Tensor) -> list[Tensor]:
        """Of each layer the weights alone, ``(G, n)``."""
        return list(theta.split(self.sizes, dim=1)[::2])

    def layer(self, i: int, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The i-th layer: maps ``(B, G C, H, W)``, of the first the images that all share, or units ``(G, B, in)``."""
        if i < 3:
            return F.conv2d(h, weight.flatten(0, 1), None if bias is None else bias.flatten(), groups=len(weight) if i else 1)
        return h @ weight.mT if bias is None else torch.baddbmm(bias[:, None], h, weight.mT)

    def logits(self, x: Tensor, models: int, layer: Callable[[int, Tensor], Tensor]) -> Tensor:
        """``(G, B, C)`` of images ``(B, 1, H, W)``, where ``layer(i, h)`` is what the i-th one makes of h."""
        h = x
        for i in range(3):
            h = layer(i, h)
            h = _activated(F.max_pool2d(h, 2) if i < 2 else h, 1)
        h = h.unflatten(1, (models, -1)).flatten(2).transpose(0, 1)
        return at_least_single(layer(4, _activated(layer(3, h), 0)))

    def plain(self, x: Tensor, theta: Tensor) -> Tensor:
        """Logits ``(G, B, C)`` of the networks ``theta`` (G, P)."""
        parts = self.parts(theta)
        return self.logits(x, len(theta), lambda i, h: self.layer(i, h, *parts[i]))


def _activated(h: Tensor, dim: int) -> Tensor:
    first, second = h.chunk(2, dim)
    return torch.cat((first.tanh(), second.relu()), dim)


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """Of each network the mean over the batch, ``(G,)``."""
    return F.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="none").unflatten(0, logits.shape[:2]).mean(1)


class Twins(Method, Population):
    """A population whose versions are rows ``(S, G, P)`` of :meth:`versions`; a subclass has ``zoo``."""

    zoo: Zoo

    def versions(self) -> Tensor:
        """The originals first."""
        raise NotImplementedError

    def errors(self, theta: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss of the networks ``theta`` (G, P), the sum of their cross-entropies, and its parts."""
        logits = self.zoo.plain(batch["x"], theta)
        nll = cross_entropies(logits, batch["y"])
        return {"loss": nll.sum(), "nll": nll.mean(), "accuracy": (logits.argmax(2) == batch["y"]).float().mean()}

    def classes(self, x: Tensor) -> Tensor:
        return torch.stack([self.zoo.plain(x, theta).argmax(2) for theta in self.versions()])

    def zeros(self) -> tuple[Tensor, Tensor]:
        found = torch.stack([torch.stack([(w == 0).sum(1) for w in self.zoo.weights(theta)], 1) for theta in self.versions()])
        return found, torch.tensor(self.zoo.sizes[::2])
