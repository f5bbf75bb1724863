"""Layers as products of two matrices whose components are ordered, and smaller networks made of the first of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from elboard.bench.errors import UserError
from elboard.bench.kinds.compression import CompressibleClassifier

TINY = 1e-12  # within roots, whose gradient at 0 is infinite


class LowRank(nn.Module):
    """A linear layer or a convolution whose weights W ``(m, n)`` are a product U V^T.

    A convolution's weights are ``(outputs, inputs * k * k)``: V convolves, to r maps, and U mixes these. At the start
    U = P sqrt(S), V = Q sqrt(S) of the decomposition W = P S Q^T, so that the function is that of ``layer``.

    Attributes:
        left, right: U ``(m, r)`` and V ``(n, r)``.
        kept: of how many components the product is, the first ones; a tensor without dimensions, None for all.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        p, s, q = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
        self.left, self.right = nn.Parameter(p * s.sqrt()), nn.Parameter(q.t() * s.sqrt())
        self.register_parameter("bias", layer.bias)
        self.inputs = tuple(layer.weight.shape[1:])
        self.words = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, nn.Conv2d) else None
        self.kept: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    @property
    def live(self) -> int:
        """The number of components of the product."""
        return self.rank if self.kept is None else int(self.kept)

    def cost(self, rank: int) -> int:
        """Weights of the layer at ``rank``: of the product, or of the one matrix where that is smaller."""
        m, n = len(self.left), len(self.right)
        return min(rank * (m + n), m * n)

    def mask(self) -> Tensor | float:
        return 1.0 if self.kept is None else (torch.arange(self.rank, device=self.left.device) < self.kept).to(self.left)

    def forward(self, x: Tensor) -> Tensor:
        inner, outer = self.right.t(), self.left * self.mask()
        if not self.rank:  # what has no maps cannot be convolved
            inner, outer = inner.new_zeros(1, inner.shape[1]), outer.new_zeros(len(outer), 1)
        if self.words is None:
            return F.linear(F.linear(x, inner), outer, self.bias)
        return F.conv2d(F.conv2d(x, inner.unflatten(1, self.inputs), **self.words), outer[:, :, None, None], self.bias)

    def suffixes(self, matrix: Tensor) -> Tensor:
        """Frobenius norms ``(r,)`` of the kept columns of ``matrix`` from each one on."""
        return ((matrix * self.mask()).square().sum(0).flip(0).cumsum(0).flip(0) + TINY).sqrt()

    def importance(self) -> Tensor:
        """|U from b on| |V from b on| of b = 1..r, which falls with b; after a decomposition the sum of the singular values from b on."""
        return self.suffixes(self.left) * self.suffixes(self.right)

    def smaller(self, rank: int) -> nn.Module:
        """The layer of its first ``rank`` components; one matrix, of all that are kept, where that is no larger."""
        with torch.no_grad():
            if self.cost(rank) == len(self.left) * len(self.right):
                return self._dense((self.left * self.mask()) @ self.right.t())
            rank, layer = min(rank, self.live), copy.copy(self)
            layer._parameters = {"left": nn.Parameter(self.left[:, :rank].clone()), "right": nn.Parameter(self.right[:, :rank].clone())}
            layer.register_parameter("bias", copy.deepcopy(self.bias))
            layer.kept = None
            return layer

    def _dense(self, weight: Tensor) -> nn.Module:
        if self.words is None:
            layer = skip_init(nn.Linear, len(self.right), len(weight), bias=self.bias is not None)
        else:
            size = self.inputs[1:]
            layer = skip_init(nn.Conv2d, self.inputs[0], len(weight), size, bias=self.bias is not None, **self.words)
        layer.weight, layer.bias = nn.Parameter(weight.view(len(weight), *self.inputs)), copy.deepcopy(self.bias)
        return layer


def places(network: nn.Module, kinds: Any) -> list[str]:
    """Names of the modules within ``network`` of such ``kinds``, in their order."""
    return [name for name, module in network.named_modules() if isinstance(module, kinds) and name]


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """``module`` in the place of that of this ``name``."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def factorise(network: nn.Module) -> list[LowRank]:
    """Turn the linear layers and convolutions within ``network`` into :class:`LowRank`, in their order.

    Raises UserError for batch normalisation: its statistics would be others in each smaller network.
    """
    if places(network, nn.modules.batchnorm._BatchNorm):
        raise UserError("networks with batch normalisation are not made smaller here: set backbone=mlp or backbone=cnn")
    for name in places(network, nn.Linear | nn.Conv2d):
        put(network, name, LowRank(network.get_submodule(name)))
    return layers_of(network)


def layers_of(network: nn.Module) -> list[LowRank]:
    return [network.get_submodule(name) for name in places(network, LowRank)]


def replaced(network: nn.Module, ranks: Sequence[int]) -> nn.Module:
    """A copy of ``network`` whose low-rank layers have only the first so many components."""
    made = copy.deepcopy(network)
    for name, rank in zip(places(network, LowRank), ranks, strict=True):
        put(made, name, made.get_submodule(name).smaller(rank))
    return made


def by_importance(layers: Sequence[LowRank], weights: int) -> list[int]:
    """Ranks of ``layers`` of together at most ``weights`` weights: the least important components of all layers go first.

    Importances are relative to that of all of a layer, as weights of layers differ in size: by absolute ones small layers would lose all.
    Where a layer is to be one matrix all the same, it keeps its components.
    """
    ranks = [layer.live for layer in layers]
    relative = [(layer.importance() / layer.importance()[0]).tolist() for layer in layers]
    each = [(value, -b, i) for i, of in enumerate(relative) for b, value in enumerate(of[: ranks[i]])]
    for _, b, i in sorted(each):
        if sum(layer.cost(rank) for layer, rank in zip(layers, ranks, strict=True)) <= weights:
            break
        ranks[i] = min(ranks[i], -b)
    return [layer.live if layer.cost(rank) == layer.cost(layer.rank) else rank for layer, rank in zip(layers, ranks, strict=True)]


def in_proportion(layers: Sequence[LowRank], weights: int) -> list[int]:
    """Ranks of ``layers`` of together at most ``weights`` weights, the same share of each one's, at least 1."""
    most = max(layer.rank for layer in layers)
    for step in range(most, 0, -1):
        ranks = [max(1, layer.rank * step // most) for layer in layers]
        if sum(layer.cost(rank) for layer, rank in zip(layers, ranks, strict=True)) <= weights:
            break
    return ranks


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shrunk(backbone: nn.Module, head: nn.Module, parameters: int) -> nn.Module:
    """``head`` behind a copy of ``backbone``, of low-rank layers, with at most so many parameters in all, by :func:`by_importance`."""
    layers = layers_of(backbone)
    fixed = parameters_of(head) + sum(parameters_of(layer) - layer.left.numel() - layer.right.numel() for layer in layers)
    return nn.Sequential(replaced(backbone, by_importance(layers, parameters - fixed)), copy.deepcopy(head)).eval()


class RankWalk(nn.Module):
    """Pairs of a layer and a rank, in random order, each once before any comes again.

    Attributes:
        order, at: the order of the present round, and the place in it.
    """

    def __init__(self, ranks: Sequence[int]):
        super().__init__()
        self.register_buffer("layers", torch.cat([torch.full((r,), i) for i, r in enumerate(ranks)]), persistent=False)
        self.register_buffer("ranks", torch.cat([torch.arange(1, r + 1) for r in ranks]), persistent=False)
        self.register_buffer("order", torch.randperm(sum(ranks)))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def drawn(self, live: Tensor) -> Tensor:
        """Ranks ``(L,)`` of all layers: of the present pair's layer its rank, of the others those that they have, ``live`` (L,)."""
        of = self.order[self.at]
        mine = torch.arange(len(live), device=live.device) == self.layers[of]
        return torch.where(mine, torch.minimum(self.ranks[of], live), live)

    @torch.no_grad()
    def advance(self, live: Tensor) -> None:
        """Go to the next pair, of those that there are with ranks ``live`` (L,). Nothing is synchronised."""
        there = self.ranks <= live[self.layers]
        over = self.at + 1 >= there.sum()
        anew = torch.rand(len(there), device=there.device).masked_fill(~there, 2.0).argsort()
        self.order.copy_(torch.where(over, anew, self.order))
        self.at.copy_(torch.where(over, 0, self.at + 1))


class WholeNetwork(CompressibleClassifier):
    """A classifier with a backbone and a head, which has no smaller network than its own."""

    def compressed(self, parameters: int) -> nn.Module:
        return nn.Sequential(self.backbone, self.head).eval()
