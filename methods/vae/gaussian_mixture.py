"""Mixture of Gaussians with full covariances, by expectation maximisation (Dempster, Laird and Rubin 1977): exact density, no gradients.

    p(x) = sum_k w_k N(x; m_k, C_k)

The bound with the exact posterior of the component is the log density, its divergence that of the component, KL(p(k|x) || w). The constants
of the fit (floor of the variances, tolerance, at most 100 iterations) are scikit-learn's; it starts from k-means++ centres. It has no
likelihood of binary or grey pixels; of images it only draws samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import RealLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.mixtures import GaussianMixture

CARD = MethodCard(
    name="gaussian-mixture",
    title="Mixture of Gaussians",
    family="vae",
    home="density/toy-2d",
    cite="Dempster, Laird and Rubin 1977",
    defaults="convention",
)


class Mixture(Method, Generator, RealLikelihood):
    """Maximum likelihood, of a local maximum."""

    exact = True

    @dataclass(kw_only=True)
    class Config(Options):
        components: Count = 50  # at most: each has 2 D examples or more, so that no covariance is singular
        iterations: Count = 100  # scikit-learn's max_iter
        floor: NonNegative = 1e-6  # scikit-learn's reg_covar

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        dim = math.prod(spec.shape)
        self.mixture = GaussianMixture(dim, max(1, min(config.components, spec.n_train // (2 * dim))), config.floor)

    def fit(self, data: Data, training: Any) -> None:
        self.mixture.fit(data.train["x"].flatten(1), self.config.iterations, seed=self.seed)

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        return self.mixture.log_prob(x.flatten(1))

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        joint = self.mixture.joint(x.flatten(1))
        total = torch.logsumexp(joint, dim=1)
        posterior = (joint - total[:, None]).exp()
        kl = (posterior * (joint - total[:, None] - self.mixture.weights.log())).nan_to_num(0.0).sum(1)
        return {"elbo": total.float(), "kl": kl.float(), "reconstruction": (-total - kl).float()}

    def sample(self, n: int) -> Tensor:
        return self.mixture.sample(n, like=torch.zeros(())).unflatten(1, self.spec.shape)
