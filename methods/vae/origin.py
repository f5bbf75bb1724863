"""Autoencoders without an encoder: codes by the gradient at the origin (Bond-Taylor and Willcocks 2021).

    z = - grad_{z0} L(x, F(z0))  at z0 = 0

The loss of an example is a sum over its pixels and its gradient its own, whatever else the batch holds. In training the gradient is
differentiated again, so that the decoder learns from both of its uses.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.method import Bases
from elboard.bench.task import DataSpec
from elboard.methods.vae.base import Autoencoding


class Origin:
    """In the place of an encoder: a function of examples that has no parameters of its own."""

    def __init__(self, of: GradientOrigin):
        self.of, self.n_features = of, of.config.latent_dim

    def __call__(self, x: Tensor) -> Tensor:
        """``(B, *shape)`` -> ``(B, Z)``; with a graph where gradients are wanted, by way of one in any case."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            origin = x.new_zeros(len(x), self.n_features).requires_grad_()
            seen = origin.view_as(origin)  # no leaf enters a module: counters of operations hook inputs, and cannot hook leaves
            slope = torch.autograd.grad(self.of.inner(x, seen).sum(), origin, create_graph=learning)[0]
        return -slope


class GradientOrigin(Autoencoding):
    """A subclass gives the inner loss."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        for module in self.decoder.modules():
            if isinstance(module, nn.Linear):  # at 0 without biases units see 0, where a rectifier has no slope at all
                nn.init.uniform_(module.bias, -1 / math.sqrt(module.in_features), 1 / math.sqrt(module.in_features))

    def make_encoder(self) -> Any:
        return Origin(self)

    @abstractmethod
    def inner(self, x: Tensor, origin: Tensor) -> Tensor:
        """The loss ``(B,)`` of examples given the code ``(B, Z)`` at which its gradient is taken."""
