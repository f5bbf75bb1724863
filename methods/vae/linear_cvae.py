"""Linear conditional variational autoencoder (Dang et al. 2024, case B here), for a grid of settings at once.

    q(z|x,y) = N(W_1 x + W_2 y, Sigma),   p(y|z,x) = N(U_1 z + U_2 x, eta^2 I),   p(z) = N(0, I)
    L = (E|U_1 (W_1 x + W_2 y) + U_2 x - y|^2 + tr(U_1 Sigma U_1^T)) / eta^2 + beta (E|W_1 x + W_2 y|^2 + tr Sigma - log|Sigma|)

The optimal U_2 and W_1 take away what x says linearly; what is left is the linear autoencoder of the residuals, with theta_i^2 the
eigenvalues of E[y y^T] - E[y x^T] E[x x^T]^-1 E[x y^T]: the mode collapses where theta_i^2 <= beta eta^2, the sooner the more x and y
correlate.

Differences from the paper: those of :mod:`elboard.methods.vae.linear_vae`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.collapse import ConditionalCodes, GridSpec, Level
from elboard.bench.method import Bases
from elboard.bench.task import Batch
from elboard.methods.vae.linear_vae import LinearModels, trace

CARD = MethodCard(
    name="linear-cvae",
    title="Linear conditional variational autoencoder",
    family="vae",
    home="collapse/linear-conditional",
    paper="004",
    cite="Dang et al. 2024",
    defaults={"trials": 4, "on": "collapse/linear-conditional", "by": "collapse_gap", "options": ("lr",), "rest": "convention"},
)


class LinearCVAE(LinearModels, ConditionalCodes):
    """See the module; W = (W_1 W_2) acts on (x, y)."""

    def __init__(self, config: Any, spec: GridSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        (d,), z, c = spec.shape, spec.latent_dim, spec.condition
        self.w, self.u1, self.u2, self.logvar = self.matrix(z, c + d), self.matrix(d, z), self.matrix(d, c), self.log_variance()

    def joint(self, batch: Batch) -> Tensor:
        """E[v v^T] of v = (x, y) in the world of each setting."""
        y = batch["y"]
        v = torch.cat([batch["x"][:, None].expand(-1, y.shape[1], -1), y], dim=2)
        return self.moments(v, v)

    def objectives(self, batch: Batch) -> Tensor:
        a = self.joint(batch)
        sigma = torch.diag_embed(self.logvar.exp())
        identity = torch.eye(*self.spec.shape, device=a.device).expand(len(a), -1, -1)
        error = self.u1 @ self.w + torch.cat([self.u2, -identity], dim=2)  # of the mean, as a function of v
        reconstruction = trace(error @ a, error.mT) + trace(self.u1 @ sigma, self.u1.mT)
        divergence = trace(self.w @ a, self.w.mT) + trace(sigma) - self.logvar.sum(1)
        return reconstruction / self.noise**2 + self.beta * divergence

    def levels(self, batch: Batch) -> list[Level]:
        return [Level(self.u1, self.w @ self.joint(batch) @ self.w.mT, self.logvar.exp())]
