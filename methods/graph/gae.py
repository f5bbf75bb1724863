"""Graph autoencoder, without a distribution over codes (Kipf and Welling 2016, section 2).

    Z = A~ ReLU(A~ X W_0) W_1,   loss = L(Z), the weighted cross-entropy of all pairs (methods/graph/base.py)

Differences from the paper: none known. Its accuracies are those of the last of 200 epochs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import Batch, DataSpec
from elboard.methods.graph.base import GraphAutoencoder, glorot

CARD = MethodCard(
    name="gae",
    title="Graph autoencoder",
    family="graph",
    home="links/cora",
    paper="051",
    cite="Kipf and Welling 2016",
    defaults="paper",
)


class GAE(GraphAutoencoder):
    """Embeddings are the encoder's output."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.w_1 = glorot(config.hidden, config.latent_dim)

    def embedding(self) -> Tensor:
        return self.adjacency @ (self.hidden() @ self.w_1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.reconstruction(self.embedding())}
