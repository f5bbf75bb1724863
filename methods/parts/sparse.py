"""Constant sparse matrices times dense ones, deterministic on CPU and GPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SparseMatrix(nn.Module):
    """A constant matrix of ``n_rows`` rows with ``values[k]`` at ``(rows[k], columns[k])``, each place at most once.

    It lies in buffers that move with the method and that checkpoints leave out. A row of the product is a weighted sum of rows of the
    dense matrix, which is what ``embedding_bag`` computes; unlike products of torch's sparse layouts its gradient does not depend on the
    order in which GPU threads finish.
    """

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, n_rows: int):
        super().__init__()
        order = rows.argsort(stable=True)
        counts = torch.bincount(rows, minlength=n_rows)
        self.register_buffer("columns", columns[order], persistent=False)
        self.register_buffer("values", values[order], persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """``(M, K)`` -> ``(n_rows, K)``. Not ``forward``: torch's counter of operations fails where a parameter is a module's input."""
        return F.embedding_bag(self.columns, dense, self.starts, mode="sum", per_sample_weights=self.values.to(dense.dtype))


def from_dense(matrix: Tensor) -> SparseMatrix:
    """The non-zero entries of ``matrix`` (N, M)."""
    rows, columns = matrix.nonzero(as_tuple=True)
    return SparseMatrix(rows, columns, matrix[rows, columns], len(matrix))


def normalised_adjacency(edges: Tensor, n_nodes: int) -> SparseMatrix:
    """``A~ = D^{-1/2} (A + I) D^{-1/2}`` of undirected ``edges`` (E, 2), each once, D the degrees of A + I (Kipf and Welling 2017)."""
    (u, v), loops = edges.T, torch.arange(n_nodes, device=edges.device)
    scale = (torch.bincount(edges.flatten(), minlength=n_nodes) + 1.0).rsqrt()
    rows, columns = torch.cat((u, v, loops)), torch.cat((v, u, loops))
    return SparseMatrix(rows, columns, scale[rows] * scale[columns], n_nodes)
