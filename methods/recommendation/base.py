"""What recommenders share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.recommendation import Recommender
from elboard.bench.method import Bases, Method
from elboard.bench.task import DataSpec

AT_ONCE = 4096  # rows of clicks in double precision


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
    """A recommender without gradients; its result lies in the buffer ``weights``, of the shape that ``shape`` gives it."""

    holds: ClassVar[torch.dtype] = torch.float32

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("weights", torch.zeros(self.shape(spec.shape[0]), dtype=self.holds))

    def shape(self, n_items: int) -> tuple[int, ...]:
        raise NotImplementedError


def cooccurrences(x: Tensor) -> Tensor:
    """``X^T X`` in double precision of clicks ``(U, I)``, whose rows are never all held in that precision."""
    counts = x.new_zeros((x.shape[1], x.shape[1]), dtype=torch.float64)
    for rows in x.split(AT_ONCE):
        rows = rows.double()
        counts.addmm_(rows.T, rows)
    return counts


def largest(values: Tensor, k: int) -> Tensor:
    """``values`` (N, M) with zeros in the place of all but the ``k`` largest of each row; of equal ones those with the lower index stay."""
    if k >= values.shape[1]:
        return values
    best = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(values).scatter_(1, best, values.gather(1, best))


def cosine(common: Tensor, squares: Tensor, other_squares: Tensor, shrink: float) -> Tensor:
    """``n_ab / (|a| |b| + shrink)`` of products ``(N, M)`` of vectors and their squared lengths ``(N,)`` and ``(M,)``; 0 of an empty one.

    The constant draws those towards 0 that rest on few common clicks.
    """
    lengths = squares.sqrt()[:, None] * other_squares.sqrt() + shrink
    return common / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
