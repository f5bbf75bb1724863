"""What variational autoencoders share: networks, posterior, evidence bounds, sampling.

    log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),   q(z|x) = N(mu(x), diag sigma^2(x)),   p(z) = N(0, I)

The networks are those of Burda, Grosse and Salakhutdinov 2016, section 5 (one stochastic layer), for all methods of the family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.method import Bases, Method
from elboard.bench.protocols import BinaryLikelihood, Generator, GreyLikelihood, LatentModel, OODScorer, RealLikelihood
from elboard.bench.task import Data, DataSpec
from elboard.methods.nets.backbones import MLP
from elboard.methods.vae.likelihoods import likelihood

ROWS = 20_000  # decoded at once: bounds the memory of many-sample bounds


class GaussianVAE(Method, Generator, LatentModel, BinaryLikelihood, GreyLikelihood, RealLikelihood, OODScorer):
    """An autoencoder with a diagonal Gaussian posterior; subclasses give the objective. OOD score: minus the ELBO."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[int] = field(default_factory=lambda: [200, 200])  # Burda et al. 2016, section 5
        latent_dim: int = 50  # ditto
        activation: str = "tanh"  # ditto

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, dimensions = config, math.prod(spec.shape)
        self.encoder = MLP([dimensions, *c.hidden], c.activation)
        self.posterior = nn.Linear(self.encoder.n_features, 2 * c.latent_dim)
        self.decoder = MLP([c.latent_dim, *reversed(c.hidden)], c.activation)
        self.out = nn.Linear(self.decoder.n_features, dimensions)
        self.likelihood = likelihood(spec)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # Burda et al. 2016: Glorot and Bengio's
                nn.init.zeros_(module.bias)

    def prepare(self, data: Data) -> None:
        mean = data.train["x"].flatten(1).mean(0)
        with torch.no_grad():
            self.out.bias.copy_(self.likelihood.initial_bias(mean))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(self.encoder(x)).chunk(2, dim=-1)
        return mean, logvar.clamp(-12.0, 12.0)  # exp neither overflows nor underflows

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.output(z)).unflatten(-1, self.spec.shape)

    def output(self, z: Tensor) -> Tensor:
        """Parameters of p(x|z): ``(..., Z)`` -> ``(..., D)``."""
        return self.out(self.decoder(z.reshape(-1, z.shape[-1]))).unflatten(0, z.shape[:-1])

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, self.config.latent_dim, device=self.out.weight.device))

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """One sample of z an example, KL in closed form (Kingma and Welling 2014, estimator B)."""
        mean, logvar = self.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(z))
        divergence = kl_to_standard_normal(mean, logvar)
        return {"elbo": -reconstruction - divergence, "kl": divergence, "reconstruction": reconstruction, "z": z}

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """``log p(x, z_i) - log q(z_i | x)`` for k samples of the posterior, ``(B, k)``."""
        mean, logvar = self.encode(x)
        noise = torch.randn(len(x), k, mean.shape[-1], device=mean.device, dtype=mean.dtype)
        z = mean[:, None] + noise * torch.exp(0.5 * logvar)[:, None]
        # log p(z) - log q(z|x); the two normalising constants cancel
        prior_ratio = 0.5 * (noise**2 - z**2).sum(-1) + 0.5 * logvar.sum(-1, keepdim=True)
        return self.likelihood.log_prob(x.flatten(1)[:, None], self.output(z)) + prior_ratio

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        at_once = max(1, ROWS // len(x))
        parts = [torch.logsumexp(self.log_weights(x, min(at_once, k - start)), dim=1) for start in range(0, k, at_once)]
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(k)

    def ood_score(self, x: Tensor) -> Tensor:
        return -self.elbo(x)["elbo"]


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """``KL(N(mean, diag exp(logvar)) || N(0, I))``, summed over the last dimension (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1)
