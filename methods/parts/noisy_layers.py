"""Noise in a network's weight layers, by hooks, so that the backbone stays the shared one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.method import at_least_single


def weight_layers(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The linear and convolutional layers, in the order of their definition, which in backbones and heads is that of their use."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def inputs_of(layer: nn.Linear | nn.Conv2d) -> int:
    """Number of input units, of a convolution of its channels."""
    return layer.weight.shape[1]


def along(x: Tensor, values: Tensor) -> Tensor:
    """``values`` ``(..., K)`` shaped to multiply ``x`` ``(B, K)`` or ``(B, K, H, W)`` along its units or channels."""
    return values if x.ndim == 2 else values[..., None, None]


def squared(layer: nn.Linear | nn.Conv2d, x: Tensor, variance: Tensor) -> Tensor:
    """The layer without bias, with ``variance`` for its weights, on squared inputs: the variance of its output under independent noise.

    In single precision or what is finer: halves have no squares of small weights, and none of inputs above 255.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, variance = at_least_single(x), at_least_single(variance)
        if isinstance(layer, nn.Linear):
            return F.linear(x**2, variance)
        return F.conv2d(x**2, variance, None, layer.stride, layer.padding, layer.dilation, layer.groups)


@contextmanager
def before(layers: list, change: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Within, what goes into the i-th of ``layers`` is ``change(i, x)``."""

    def hook(i: int) -> Callable[..., Any]:
        return lambda module, args: (change(i, args[0]), *args[1:])

    handles = [layer.register_forward_pre_hook(hook(i)) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def after(layers: list, change: Callable[[int, Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Within, what comes out of the i-th of ``layers`` is ``change(i, x, y)``, of its input and its output."""

    def hook(i: int) -> Callable[..., Any]:
        return lambda module, args, y: change(i, args[0], y)

    handles = [layer.register_forward_hook(hook(i)) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
