"""Random masks: layers that draw them, and what a classifier trained with them shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from elboard.bench.kinds.masks import MaskedClassifier
from elboard.bench.task import Batch


class DropPath(nn.Dropout):
    """Stochastic depth (Huang et al. 2016): the whole input of an example is zeroed with probability p, or scaled by 1 / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.dropout(x.new_ones(len(x), *[1] * (x.ndim - 1)), self.p, self.training)


@contextmanager
def dropout_on(module: nn.Module, on: bool = True) -> Iterator[None]:
    """Dropout layers in training mode, or where not ``on`` in evaluation mode, all else as it was; afterwards they too."""
    layers = [(layer, layer.training) for layer in module.modules() if isinstance(layer, nn.Dropout)]
    try:
        for layer, _ in layers:
            layer.train(on)
        yield
    finally:
        for layer, was_training in layers:
            layer.train(was_training)


class MaskedPasses(MaskedClassifier):
    """A classifier whose dropout layers draw the masks."""

    def masked(self, x: Tensor, n: int) -> Tensor:
        with dropout_on(self):
            return torch.stack([self(x).softmax(1) for _ in range(n)])

    def gradient(self, batch: Batch, masks: bool = True) -> Tensor:
        with torch.enable_grad(), dropout_on(self, masks):
            parameters = [p for p in self.parameters() if p.requires_grad]
            parts = torch.autograd.grad(self.loss(batch)["loss"], parameters)
        return torch.cat([part.flatten() for part in parts])
