"""Variational autoencoders for a grid of weights of the KL term, trained side by side (beta-VAE: Higgins et al. 2017).

    L_beta(x) = E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || p(z))        for each beta, with networks and noise of its own

All models see the same batches; the layers of all are one batched matrix product, and no model has a parameter of another, so that each
trains as it would alone. The network is the family's, that of Burda, Grosse and Salakhutdinov 2016.

Differences from the paper: MNIST and fully connected networks instead of pictures and convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.collapse import BetaSpec, PosteriorGrid
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.likelihoods import likelihood

CARD = MethodCard(
    name="vae-grid",
    title="Variational autoencoders by the weight of the KL term",
    family="vae",
    home="collapse/mnist",
    cite="Higgins et al. 2017",
    splits=True,
    defaults="convention",
)


class VAEGrid(Method, PosteriorGrid):
    """See the module; G models, one for each of the spec's betas."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [200, 200])  # Burda et al. 2016, section 5
        latent_dim: Count = 50  # ditto

    def __init__(self, config: Any, spec: BetaSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("betas", torch.tensor(spec.betas), persistent=False)
        pixels, z = math.prod(spec.shape), config.latent_dim
        self.encoder = batched_mlp(len(spec.betas), [pixels, *config.hidden, 2 * z], "tanh")
        self.decoder = batched_mlp(len(spec.betas), [z, *reversed(config.hidden), pixels], "tanh")
        self.likelihood = likelihood(spec)

    def prepare(self, data: Data) -> None:
        mean = data.train["x"].flatten(1).mean(0)
        with torch.no_grad():
            self.decoder[-1].bias.copy_(self.likelihood.initial_bias(mean))

    def posteriors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoder(x.flatten(1).expand(len(self.betas), -1, -1)).chunk(2, dim=-1)
        return mean, logvar.clamp(-12.0, 12.0)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x|z) of one sample of each posterior, and KL(q(z|x) || p(z)), both ``(G, B)``."""
        mean, logvar = self.posteriors(x)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        return self.likelihood.log_prob(x.flatten(1), self.decoder(z)), kl_to_standard_normal(mean, logvar)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        log_p, kl = self.terms(batch["x"])
        objectives = (self.betas[:, None] * kl - log_p).mean(1)
        return {"loss": objectives.sum(), "elbo": (log_p - kl).mean(), "kl": kl.mean()}

    def log_evidences(self, x: Tensor, k: int) -> Tensor:
        mean, logvar = self.posteriors(x)
        noise = torch.randn(*mean.shape[:2], k, mean.shape[2], device=mean.device)
        z = mean[:, :, None] + noise * (0.5 * logvar).exp()[:, :, None]
        out = self.decoder(z.flatten(1, 2)).unflatten(1, noise.shape[1:3])
        log_p = self.likelihood.log_prob(x.flatten(1)[None, :, None], out)
        log_weights = log_p + 0.5 * (noise**2 - z**2).sum(-1) + 0.5 * logvar.sum(-1)[:, :, None]
        return torch.logsumexp(log_weights, dim=2) - math.log(k)
