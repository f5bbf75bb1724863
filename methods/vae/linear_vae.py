"""Linear variational autoencoder (Lucas et al. 2019; Wang and Ziyin 2022; case A of Dang et al. 2024), for a grid of settings at once.

    q(z|y) = N(W y, Sigma),   p(y|z) = N(U z, eta^2 I),   p(z) = N(0, I),   Sigma diagonal
    L = (E|U W y - y|^2 + tr(U Sigma U^T)) / eta^2 + beta (E|W y|^2 + tr Sigma - log|Sigma|)

up to a factor 1/2 and constants. The expectation over z is in closed form and that over y needs the batch's second moments alone, so that
the gradient has no noise. At the optimum, with theta_i^2 the eigenvalues of E[y y^T], singular value i of U is
sqrt(max(0, theta_i^2 - beta eta^2)): the mode collapses where theta_i^2 <= beta eta^2. With ``held`` > 0 Sigma is ``held`` I and not
learned; then it collapses where theta_i <= sqrt(beta held) eta.

Differences from the paper: Adam at 0.1 for all methods and options of a linear model, falling to 0 by a cosine (the paper's optimiser was
not verified). Of 0.01, 0.03, 0.1 and 0.3, with half the steps of lite, the last three give all predicted numbers of active units; singular
values of the conditional model's decoder are within 0.14, 0.11, 0.001 and 0.03 of theta_1, of the hierarchical one's within 0.34, 0.22,
0.0004 and 0.0002: at small rates the axes of a learned Sigma turn to the modes too slowly. The grid is trained at once. Weights begin at
normal draws of standard deviation 0.1, Sigma at I.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.collapse import GridSpec, Level, LinearCodes, VanillaCodes
from elboard.bench.method import Bases, Method
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch

CARD = MethodCard(
    name="linear-vae",
    title="Linear variational autoencoder",
    family="vae",
    home="collapse/linear",
    paper="004",
    cite="Dang et al. 2024",
    defaults={"trials": 4, "on": "collapse/linear-conditional", "by": "collapse_gap", "options": ("lr",), "rest": "convention"},
)


class LinearModels(Method, LinearCodes):
    """What linear models share: a model for each setting, their parameters stacked along the first dimension."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.1
        schedule: str = "cosine"
        held: NonNegative = 0.0  # the (lower) encoder variance where it is fixed; 0: learned

    def __init__(self, config: Any, spec: GridSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.held: tuple[float, ...] = (config.held,)
        for name in ("beta", "top", "noise"):
            values = torch.tensor([getattr(setting, name) for setting in spec.settings])
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("worlds", torch.tensor([setting.world for setting in spec.settings]), persistent=False)

    def matrix(self, rows: int, columns: int) -> nn.Parameter:
        """One for each setting, ``(G, rows, columns)``."""
        return nn.Parameter(0.1 * torch.randn(len(self.spec.settings), rows, columns))

    def log_variance(self) -> nn.Parameter:
        """Of the codes of each setting, ``(G, Z)``; not learned where it is held."""
        value = torch.full((len(self.spec.settings), self.spec.latent_dim), self.config.held or 1.0).log()
        return nn.Parameter(value, requires_grad=not self.config.held)

    def moments(self, a: Tensor, b: Tensor) -> Tensor:
        """E[a b^T] in the world of each setting, ``(G, A, B)``, of ``a`` (N, worlds, A) and ``b`` (N, worlds, B)."""
        return torch.einsum("nwi,nwj->wij", a, b)[self.worlds] / len(a)

    def objectives(self, batch: Batch) -> Tensor:
        """L of each setting, ``(G,)``."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.objectives(batch).sum()}  # no setting has a parameter of another


def trace(*factors: Tensor) -> Tensor:
    """Traces ``(G,)`` of the products of ``factors``, each ``(G, ., .)``."""
    first, *others = factors
    for factor in others:
        first = first @ factor
    return first.diagonal(dim1=1, dim2=2).sum(1)


class LinearVAE(LinearModels, VanillaCodes):
    """See the module."""

    def __init__(self, config: Any, spec: GridSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        (d,), z = spec.shape, spec.latent_dim
        self.w, self.u, self.logvar = self.matrix(z, d), self.matrix(d, z), self.log_variance()

    def objectives(self, batch: Batch) -> Tensor:
        a = self.moments(batch["y"], batch["y"])
        code, sigma = self.w @ a @ self.w.mT, torch.diag_embed(self.logvar.exp())
        reconstruction = trace(self.u @ (code + sigma) @ self.u.mT) - 2 * trace(self.u, self.w, a) + trace(a)
        divergence = trace(code + sigma) - self.logvar.sum(1)
        return reconstruction / self.noise**2 + self.beta * divergence

    def levels(self, batch: Batch) -> list[Level]:
        a = self.moments(batch["y"], batch["y"])
        return [Level(self.u, self.w @ a @ self.w.mT, self.logvar.exp())]
