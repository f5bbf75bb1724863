"""Spectral embedding: eigenvectors of the normalised adjacency (Tang and Liu 2011; the baseline "SC" of Kipf and Welling 2016).

    D^{-1/2} A D^{-1/2} = U diag(lambda) U^T,   Z = columns of U with the largest lambda in (0, 1),   score(i, j) = z_i^T z_j

Features are not used. Eigenvalue 1, that is 0 of the Laplacian, has one eigenvector for every connected component with an edge, which says
nothing about the links within it. Of a training graph with many components they would fill all columns and, as any rotation of them is as
good, make the result depend on the solver; so they are left out. Eigenvectors of negative eigenvalues, which tell neighbours apart, never
rank among the first 128 of a large graph; a small one has fewer columns. Nodes without a neighbour have the embedding 0, and pairs in
different components score 0 exactly: entries within the solver's rounding are set to 0. The many ties lower the average precision, that of
links/citeseer by four points, against an order of the tied pairs by rounding errors. The paper's sigmoid would not change the order.

Differences from the paper, which names scikit-learn's implementation and 128 dimensions but not how it met the graphs' 160 to 690
components: the eigenvectors left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.links import LinkPredictor
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Options
from elboard.bench.task import Data, DataSpec

CARD = MethodCard(
    name="spectral-embedding",
    title="Spectral embedding",
    family="graph",
    home="links/cora",
    cite="Tang and Liu 2011",
    defaults="paper",
)
ROUNDING = 1e-9  # eigenvalues so close to 0 and 1 are taken for these
NOISE = 1e-12  # entries of eigenvectors below this are taken for 0


class SpectralEmbedding(Method, LinkPredictor):
    """The embeddings lie in the buffer ``embedding`` (N, latent); where fewer eigenvectors qualify its last columns are 0."""

    @dataclass(kw_only=True)
    class Config(Options):
        latent_dim: Count = 128  # Kipf and Welling 2016, section 3

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("embedding", torch.zeros(spec.n_nodes, config.latent_dim, dtype=torch.float64))

    def fit(self, data: Data, training: Any) -> None:
        u, v = data.shared["edges"].T
        adjacency = torch.zeros(self.spec.n_nodes, self.spec.n_nodes, dtype=torch.float64)
        adjacency[u, v] = adjacency[v, u] = 1
        scale = adjacency.sum(1).clamp(min=1).rsqrt()
        values, vectors = torch.linalg.eigh(scale[:, None] * adjacency * scale)
        inside = (values > ROUNDING) & (values < 1 - ROUNDING)
        kept = vectors[:, inside].flip(1)[:, : self.config.latent_dim]
        self.embedding.zero_()[:, : kept.shape[1]] = torch.where(kept.abs() < NOISE, 0, kept)

    def link_scores(self, pairs: Tensor) -> Tensor:
        return (self.embedding[pairs[:, 0]] * self.embedding[pairs[:, 1]]).sum(1)
