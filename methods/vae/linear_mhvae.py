"""Linear Markovian hierarchical variational autoencoder of two levels (Dang et al. 2024, case C here), for a grid of settings at once.

    q(z_1|y) = N(W_1 y, Sigma_1),   q(z_2|z_1) = N(W_2 z_1, Sigma_2),   p(z_2) = N(0, I),
    p(z_1|z_2) = N(U_2 z_2, eta^2 I),   p(y|z_1) = N(U_1 z_1, eta^2 I)
    L = E|U_1 z_1 - y|^2 / eta^2 + beta_1 (E|z_1 - U_2 z_2|^2 / eta^2 - log|Sigma_1|) + beta_2 (E|z_2|^2 - log|Sigma_2|)

With both variances learned and beta_2 > beta_1 the optimum has E[z_1 z_1^T] = eta^2 I, which the prior of a collapsed z_2 explains in full.
With Sigma_1 = ``held`` I a mode keeps both levels where theta^2 >= max(beta_2^2 eta^4 / (beta_1 held), beta_2 eta^2).

Differences from the paper: those of :mod:`elboard.methods.vae.linear_vae`; symbols and theorems were derived anew, not read in the paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.collapse import GridSpec, HierarchicalCodes, Level
from elboard.bench.method import Bases
from elboard.bench.task import Batch
from elboard.methods.vae.linear_vae import LinearModels, trace

CARD = MethodCard(
    name="linear-mhvae",
    title="Linear Markovian hierarchical variational autoencoder",
    family="vae",
    home="collapse/linear-hierarchical",
    paper="004",
    cite="Dang et al. 2024",
    defaults={"trials": 4, "on": "collapse/linear-hierarchical", "by": "collapse_gap", "options": ("lr",), "rest": "convention"},
)


class LinearMHVAE(LinearModels, HierarchicalCodes):
    """See the module."""

    def __init__(self, config: Any, spec: GridSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        (d,), z = spec.shape, spec.latent_dim
        self.w1, self.u1, self.logvar1 = self.matrix(z, d), self.matrix(d, z), self.log_variance()
        self.w2, self.u2 = self.matrix(z, z), self.matrix(z, z)
        self.logvar2 = nn.Parameter(torch.zeros(len(spec.settings), z))
        self.held = (self.config.held, 0.0)

    def objectives(self, batch: Batch) -> Tensor:
        a = self.moments(batch["y"], batch["y"])
        sigma1, sigma2 = torch.diag_embed(self.logvar1.exp()), torch.diag_embed(self.logvar2.exp())
        s = self.w1 @ a @ self.w1.mT + sigma1  # E[z_1 z_1^T]
        left = torch.eye(s.shape[1], device=s.device) - self.u2 @ self.w2  # of z_1 by the mean of z_2
        reconstruction = trace(self.u1 @ s, self.u1.mT) - 2 * trace(self.u1, self.w1, a) + trace(a)
        lower = (trace(left @ s, left.mT) + trace(self.u2 @ sigma2, self.u2.mT)) / self.noise**2 - self.logvar1.sum(1)
        upper = trace(self.w2 @ s, self.w2.mT) + trace(sigma2) - self.logvar2.sum(1)
        return reconstruction / self.noise**2 + self.beta * lower + self.top * upper

    def levels(self, batch: Batch) -> list[Level]:
        code = self.w1 @ self.moments(batch["y"], batch["y"]) @ self.w1.mT
        s = code + torch.diag_embed(self.logvar1.exp())
        return [Level(self.u1, code, self.logvar1.exp()), Level(self.u2, self.w2 @ s @ self.w2.mT, self.logvar2.exp())]
