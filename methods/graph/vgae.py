"""Variational graph autoencoder (Kipf and Welling 2016).

    H = ReLU(A~ X W_0),   mu = A~ H W_mu,   log sigma = A~ H W_sigma
    q(Z | X, A) = prod_i N(z_i; mu_i, diag sigma_i^2),   p(Z) = prod_i N(0, I)

    loss = L(Z) + (1 / N) mean_i KL_i,   KL_i = -1/2 sum_j (1 + 2 log sigma_ij - mu_ij^2 - sigma_ij^2)

with one sample Z of q and L(Z) of methods/graph/base.py. ``log sigma`` is the logarithm of the standard deviation. L is a mean over N^2
pairs, and so is the KL term, sum_i KL_i / N^2; without the weights norm and pos_weight the loss would be minus the ELBO over N^2. With them
it is no bound, and no bound is reported. Links are predicted by the posterior means. In the curves ``kl`` is mean_i KL_i, in nats a node.

Differences from the paper: none known. Its accuracies are those of the last of 200 epochs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import Batch, DataSpec
from elboard.methods.graph.base import GraphAutoencoder, glorot
from elboard.methods.parts.divergences import kl_to_standard_normal

CARD = MethodCard(
    name="vgae",
    title="Variational graph autoencoder",
    family="graph",
    home="links/cora",
    paper="051",
    cite="Kipf and Welling 2016",
    defaults="paper",
)


class VGAE(GraphAutoencoder):
    """Embeddings are means of a Gaussian posterior."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.w_mu = glorot(config.hidden, config.latent_dim)
        self.w_sigma = glorot(config.hidden, config.latent_dim)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each ``(N, latent)``."""
        hidden = self.hidden()
        return self.adjacency @ (hidden @ self.w_mu), self.adjacency @ (hidden @ self.w_sigma)

    def embedding(self) -> Tensor:
        return self.posterior()[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, log_sigma = self.posterior()
        reconstruction = self.reconstruction(mean + torch.randn_like(mean) * log_sigma.exp())
        kl = kl_to_standard_normal(mean, 2 * log_sigma).mean()
        return {"loss": reconstruction + kl / len(mean), "reconstruction": reconstruction, "kl": kl}
