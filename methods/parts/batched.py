"""Networks side by side: G of them as batched matrix products, none with a parameter of another, so that each trains as it would alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError, nearest

ITERATIONS = 30  # of the power method at the start


class BatchedLinear(nn.Module):
    """G linear layers: ``(G, N, inputs)`` -> ``(G, N, outputs)``, with Glorot and Bengio's uniform weights."""

    def __init__(self, models: int, inputs: int, outputs: int):
        super().__init__()
        limit = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(models, inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(models, 1, outputs))

    def weights(self) -> Tensor:
        """The matrices that multiply, ``(G, inputs, outputs)``."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weights())


class SpectralLinear(BatchedLinear):
    """The same with a norm: W <- bound W / sigma(W), sigma the largest singular value (Miyato et al. 2018).

    sigma = u^T W v with u and v of the power method, one iteration of which :meth:`iterate` does: once a step, outside the loss.
    ``bound``: a number, or one for each model (G,).
    """

    def __init__(self, models: int, inputs: int, outputs: int, bound: float | Tensor = 1.0):
        super().__init__(models, inputs, outputs)
        bounds = torch.as_tensor(bound, dtype=torch.float32).expand(models)
        self.register_buffer("bound", bounds.clone()[:, None, None], persistent=False)
        self.register_buffer("right", nn.functional.normalize(torch.randn(models, outputs, 1), dim=1))
        self.register_buffer("left", torch.zeros(models, inputs, 1))
        for _ in range(ITERATIONS):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        self.left.copy_(nn.functional.normalize(self.weight @ self.right, dim=1))
        self.right.copy_(nn.functional.normalize(self.weight.transpose(1, 2) @ self.left, dim=1))

    def weights(self) -> Tensor:
        # buffers change in place at the next step: the graph of this one keeps their values
        sigma = self.left.clone().transpose(1, 2) @ self.weight @ self.right.clone()
        return self.bound * self.weight / sigma


class GroupSort(nn.Module):
    """Sorts pairs of neighbouring units (Anil, Lucas and Grosse 2019): a permutation, so that no gradient loses its norm."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            raise UserError(f"hidden={x.shape[-1]}: pairs need an even width")
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([torch.minimum(a, b), torch.maximum(a, b)], dim=-1).flatten(-2)


ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "groupsort": GroupSort}


def batched_mlp(models: int, sizes: list[int], activation: str = "relu", lipschitz: float | Tensor | None = None) -> nn.Sequential:
    """G fully connected networks of the widths ``sizes``, from inputs to outputs, with an activation between layers.

    ``lipschitz``: a bound of their Lipschitz constants, one for all or one for each; layers share it in equal factors.
    """
    if activation not in ACTIVATIONS:
        raise UserError(f"activation={activation!r}: {nearest(activation, ACTIVATIONS)}")
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        if lipschitz is None:
            layers.append(BatchedLinear(models, a, b))
        else:
            layers.append(SpectralLinear(models, a, b, torch.as_tensor(lipschitz, dtype=torch.float32) ** (1 / (len(sizes) - 1))))
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def restrict(network: nn.Sequential, inputs: Sequence[int], outputs: Sequence[int]) -> None:
    """Set to 0 the weights of inputs and outputs beyond those that each model has. There they stay where such inputs are 0 and such outputs
    have no gradient, and are of no account for norms."""
    first, last = network[0], network[-1]
    first.weight.mul_(torch.arange(first.weight.shape[1])[None, :, None] < torch.tensor(inputs)[:, None, None])
    last.weight.mul_(torch.arange(last.weight.shape[2]) < torch.tensor(outputs)[:, None, None])
    for _ in range(ITERATIONS):
        iterate(network)


@torch.no_grad()
def begin_alike(network: nn.Module, first: Sequence[int]) -> None:
    """Give model i of G the weights of model ``first[i]``."""
    for value in network.state_dict().values():
        value.copy_(value[list(first)])


def iterate(module: nn.Module) -> None:
    """One iteration of the power method in each layer that has a norm."""
    for layer in module.modules():
        if isinstance(layer, SpectralLinear):
            layer.iterate()
