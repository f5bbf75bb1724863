"""What graph autoencoders share: a graph convolutional encoder, the inner-product decoder, the loss over all pairs of nodes.

    A~ = D^{-1/2} (A + I) D^{-1/2},   H = ReLU(A~ X W_0),   embeddings A~ H W,   p(A_ij = 1 | Z) = sigmoid(z_i^T z_j)

    L(Z) = norm / N^2 sum_ij [ pos_weight y_ij softplus(-x_ij) + (1 - y_ij) softplus(x_ij) ],   x = Z Z^T,   y = A + I
    pos_weight = (N^2 - sum A) / sum A,   norm = N^2 / (2 (N^2 - sum A))

A holds the training edges in both directions; sum A is without self loops, though the labels y have them. Edges are few, so that

    sum_ij [...] = sum_ij softplus(x_ij) + sum_{ij: y_ij = 1} [ pos_weight softplus(-x_ij) - softplus(x_ij) ],

where the first sum, the only one over all N^2 pairs, is computed with its gradient in blocks of the upper triangle.

Kipf and Welling 2016, sections 1 and 2, with the scaling of the loss in their implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from elboard.bench.errors import UserError
from elboard.bench.kinds.links import LinkPredictor
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.sparse import from_dense, normalised_adjacency

ROWS = 128  # of a block: one of 128 x N floats stays in a CPU's cache


class GraphAutoencoder(Method, LinkPredictor):
    """A two-layer encoder and the loss L(Z); subclasses give the embeddings and the objective.

    Scores are inner products of embeddings: the sigmoid of the paper orders pairs alike, but would make ties of large ones in float32.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.01  # section 3, as are the widths; Adam, no weight decay, no dropout
        hidden: Count = 32
        latent_dim: Count = 16
        featureless: bool = False  # X = I instead of the nodes' features

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.w_0 = glorot(spec.n_nodes if config.featureless else spec.shape[0], config.hidden)

    def prepare(self, data: Data) -> None:
        self.adjacency = normalised_adjacency(data.shared["edges"], self.spec.n_nodes)
        if not self.config.featureless:
            self.features = from_dense(data.shared["features"])
        self.register_buffer("edges", data.shared["edges"].T.contiguous(), persistent=False)

    def on_train_start(self) -> None:
        if self.trainer.num_training_batches > 1:
            raise UserError(f"{self.card.name} trains on the whole graph: train.batch_size must be 0, which means all examples")

    def hidden(self) -> Tensor:
        """H, ``(N, hidden)``."""
        projected = self.w_0 if self.config.featureless else self.features @ self.w_0
        return (self.adjacency @ projected).relu()

    def embedding(self) -> Tensor:
        """The embeddings that predict links, ``(N, latent)``."""
        raise NotImplementedError

    def reconstruction(self, z: Tensor) -> Tensor:
        """L(Z) of embeddings ``(N, latent)``: a weighted mean over pairs, in nats."""
        pairs, ones = len(z) ** 2, 2 * self.edges.shape[1]
        pos_weight, norm = (pairs - ones) / ones, pairs / (2 * (pairs - ones))
        u, v = self.edges
        linked, loops = (z[u] * z[v]).sum(1), (z * z).sum(1)
        total = SoftplusOfAllPairs.apply(z) + 2 * _correction(linked, pos_weight) + _correction(loops, pos_weight)
        return norm / pairs * total

    def link_scores(self, pairs: Tensor) -> Tensor:
        z = self.embedding()
        return (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1)


def glorot(n_in: int, n_out: int) -> nn.Parameter:
    """Weights ``(n_in, n_out)`` uniform within +-sqrt(6 / (n_in + n_out)) (Glorot and Bengio 2010)."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_in, n_out)))


def _correction(logits: Tensor, pos_weight: float) -> Tensor:
    """What pairs with label 1 add to their softplus(x)."""
    return (pos_weight * F.softplus(-logits) - F.softplus(logits)).sum()


class SoftplusOfAllPairs(torch.autograd.Function):
    """``f(Z) = sum_ij softplus(z_i^T z_j)`` over all N^2 ordered pairs, with the gradient ``df/dz_i = 2 sum_j sigmoid(z_i^T z_j) z_j``.

    Both come from one pass over the upper triangle, ROWS rows at a time, so that nothing of size N^2 is kept.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        total, gradient = z.new_zeros(()), torch.zeros_like(z)
        for start in range(0, len(z), ROWS):
            rows, rest = z[start : start + ROWS], z[start:]
            end, logits = start + len(rows), rows @ rest.T  # the first len(rows) columns are the block on the diagonal
            slopes, values = logits.sigmoid(), F.softplus(logits)
            total += 2 * values.sum() - values[:, : len(rows)].sum()
            gradient[start:end] += 2 * slopes @ rest
            gradient[end:] += 2 * slopes[:, len(rows) :].T @ rows
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream * ctx.saved_tensors[0]
