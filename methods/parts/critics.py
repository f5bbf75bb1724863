"""Networks that tell two laws apart, by which others are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.networks import MLP


def held(network: nn.Module, x: Tensor) -> Tensor:
    """``network(x)`` with weights that count as constants: gradients reach ``x`` alone."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (x,))


class Critic(nn.Module):
    """A number ``(B,)`` for each example ``(B, ...)``, by dense layers of ``sizes`` units from the input on."""

    def __init__(self, sizes: list[int], activation: str = "relu"):
        super().__init__()
        self.body, self.out = MLP(sizes, activation), nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))[:, 0]

    def fixed(self, x: Tensor) -> Tensor:
        """The same with weights that are :func:`held`."""
        return held(self, x)


class SeparableCritics(nn.Module):
    """L critics T(x, y) = g(x) . h(y) of pairs, beside each other: ``(L, B, Dx)`` and ``(L, B, Dy)`` to scores f_ij = T(x_i, y_j),
    ``(L, B, B)``, with ``embed`` dimensions between g and h, networks with the widths ``hidden``."""

    def __init__(self, models: int, inputs: tuple[int, int], hidden: list[int], embed: int):
        super().__init__()
        self.g, self.h = (batched_mlp(models, [width, *hidden, embed]) for width in inputs)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.g(x) @ self.h(y).transpose(1, 2)


class ConcatenatedCritics(nn.Module):
    """The same of one network T(x, y) on all B^2 pairs of an x and a y."""

    def __init__(self, models: int, inputs: tuple[int, int], hidden: list[int]):
        super().__init__()
        self.body = batched_mlp(models, [sum(inputs), *hidden, 1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        n, m = x.shape[1], y.shape[1]
        every = torch.cat([x[:, :, None].expand(-1, -1, m, -1), y[:, None].expand(-1, n, -1, -1)], dim=-1)
        return self.body(every.flatten(1, 2)).unflatten(1, (n, m))[..., 0]
