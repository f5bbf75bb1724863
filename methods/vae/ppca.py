"""Probabilistic principal component analysis (Tipping and Bishop 1999): the linear VAE whose evidence is exact.

    z ~ N(0, I_q),   x | z ~ N(W z + mu, s^2 I),   x ~ N(mu, W W^T + s^2 I)
    s^2 = mean of the D - q smallest eigenvalues of the sample covariance,   W = U_q (Lambda_q - s^2 I)^(1/2)      (eqs. 7, 8; R = I)
    z | x ~ N(M^-1 W^T (x - mu), s^2 M^-1),   M = W^T W + s^2 I, diagonal because R = I

Nothing is learned by gradients. On grey levels the model is a density of uniformly dequantised values (level + u) / levels, u ~ U(0, 1)^D:
``log P(level) >= E_u log p((level + u) / levels) - D log levels``, and its k-sample version over u for ``log_evidence``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.kinds.likelihood import GreyLikelihood, RealLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.scores import NegativeBound

CARD = MethodCard(
    name="ppca",
    title="Probabilistic PCA, closed form",
    family="vae",
    home="density/digits",
    cite="Tipping and Bishop 1999",
    defaults="convention",
)


class PPCA(Method, Generator, LatentModel, GreyLikelihood, RealLikelihood, NegativeBound):
    """Maximum likelihood in closed form. OOD score: minus the bound on the log evidence."""

    @dataclass(kw_only=True)
    class Config(Options):
        latent_dim: Count = 50  # as the VAEs that it is compared with; at most D - 1

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.dimensions = math.prod(spec.shape)
        self.q = min(config.latent_dim, self.dimensions - 1)
        self.grey = spec.likelihood == "discretised-logistic"
        self.exact = not self.grey
        for name, shape in (("mu", (self.dimensions,)), ("w", (self.dimensions, self.q)), ("variance", ())):
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    def fit(self, data: Data, training: Any) -> None:
        x = self._values(data.train["x"])
        self.mu = x.mean(0)
        values, vectors = torch.linalg.eigh((x - self.mu).T @ (x - self.mu) / len(x))
        values, vectors = values.flip(0), vectors.flip(1)
        self.variance = values[self.q :].mean().clamp(min=1e-8)  # constant dimensions would make the density infinite
        self.w = vectors[:, : self.q] * (values[: self.q] - self.variance).clamp(min=0).sqrt()

    def _values(self, x: Tensor) -> Tensor:
        """Real vectors in float64; grey levels are dequantised with fresh noise."""
        x = x.flatten(1).double()
        if self.grey:
            levels = self.spec.levels
            x = (x * (levels - 1) + torch.rand_like(x)) / levels
        return x

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        m = (self.w**2).sum(0) + self.variance
        return (x - self.mu) @ self.w / m, torch.log(self.variance / m).expand(len(x), -1)

    def _log_density(self, x: Tensor) -> Tensor:
        """``log N(x; mu, W W^T + s^2 I)`` by the matrix inversion lemma, ``(B,)``."""
        m = (self.w**2).sum(0) + self.variance
        centred = x - self.mu
        mahalanobis = ((centred**2).sum(1) - ((centred @ self.w) ** 2 / m).sum(1)) / self.variance
        log_det = torch.log(m).sum() + (self.dimensions - self.q) * torch.log(self.variance)
        return -0.5 * (mahalanobis + log_det + self.dimensions * math.log(2 * math.pi))

    def _cell(self) -> float:
        """Log volume of a grey level's cell."""
        return -self.dimensions * math.log(self.spec.levels) if self.grey else 0.0

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self._posterior(self._values(x))
        return mean.float(), logvar.float()

    def decode(self, z: Tensor) -> Tensor:
        x = (z.double() @ self.w.T + self.mu).float().unflatten(-1, self.spec.shape)
        return x.clamp(0, 1) if self.grey else x

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, self.q, device=self.mu.device))

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """With the exact posterior, so equal to the log density (of the dequantised values)."""
        x = self._values(x)
        mean, logvar = self._posterior(x)
        divergence = kl_to_standard_normal(mean, logvar)
        value = self._log_density(x) + self._cell()
        return {"elbo": value.float(), "kl": divergence.float(), "reconstruction": (-value - divergence).float()}

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        if not self.grey:
            return self._log_density(self._values(x)).float()
        draws = torch.stack([self._log_density(self._values(x)) for _ in range(k)])
        return (torch.logsumexp(draws, dim=0) - math.log(k) + self._cell()).float()
