"""What recommenders share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.recommendation import Recommender
from elboard.bench.method import Bases, Method
from elboard.bench.task import DataSpec


def multinomial_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """``sum_i x_i log softmax(logits)_i`` for clicks ``(B, I)`` -> ``(B,)``: summed over clicks, without the multinomial coefficient."""
    return (x * F.log_softmax(logits, dim=1)).sum(1)


class ClickAutoencoder(Method, Recommender):
    """A fully connected network on L2-normalised click rows with dropout at its input (Liang et al. 2018, section 2).

    ``sizes`` are the widths from the items to the code and back; tanh between layers, none after the code and the output.
    """

    def __init__(self, config: Any, spec: DataSpec, encoder: list[int], decoder: list[int], bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoder, self.decoder = layers(encoder), layers(decoder)
        self.drop = nn.Dropout(config.dropout)

    def code(self, x: Tensor) -> Tensor:
        """The encoder's output for click rows ``(B, I)``; dropout follows the normalisation."""
        return self.encoder(self.drop(F.normalize(x, dim=1)))


def layers(sizes: list[int]) -> nn.Sequential:
    """Linear layers with tanh between them; Xavier weights, biases from a normal of deviation 0.001 cut at two deviations."""
    parts: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(a, b)
        nn.init.xavier_normal_(linear.weight)
        nn.init.trunc_normal_(linear.bias, std=0.001, a=-0.002, b=0.002)
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


class ClosedFormRecommender(Method, Recommender):
    """A recommender without gradients; its result lies in the buffer ``weights``, of the shape that ``prepare`` gives it."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("weights", torch.zeros(self.shape(spec.shape[0])))

    def shape(self, n_items: int) -> tuple[int, ...]:
        raise NotImplementedError
