"""Autoencoders of few images, one for each number of them, trained side by side: with codes that have noise, or none.

    L(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I))                                        (``noise=true``: Kingma and Welling 2014)
    L(x) = log p(x | g(f(x))),   new images g(z), z from a Dirichlet-process mixture fitted to f(training images)         (``noise=false``)

The networks are those of the Bayesian autoencoder that they are the baselines of, and so is the density of codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.few import FewShotModels, FewSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.code_mixtures import CodeMixtures
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.likelihoods import Bernoulli

CARD = MethodCard(
    name="few-autoencoders",
    title="Autoencoders of few images",
    family="vae",
    home="generation/mnist-small",
    cite="Kingma and Welling 2014",
    defaults="convention",
)
DRAWS = 16  # of a code, in the likelihood of a reconstruction


class FewAutoencoders(Method, FewShotModels):
    """See the module; a model for each size of the spec."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [64])
        latent_dim: Count = 16
        noise: bool = True
        components: Count = 10  # of the mixture

    def __init__(self, config: Any, spec: FewSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        g, sizes = len(spec.sizes), [spec.shape[0], *config.hidden]
        self.encoder = batched_mlp(g, [*sizes, (2 if config.noise else 1) * config.latent_dim], "tanh")
        self.decoder = batched_mlp(g, [config.latent_dim, *reversed(sizes)], "tanh")
        self.likelihood, self.mixtures = Bernoulli(), CodeMixtures(g, config.components, config.latent_dim)

    def prepare(self, data: Data) -> None:
        with torch.no_grad():
            for g, n in enumerate(self.spec.sizes):
                self.decoder[-1].bias[g, 0] = self.likelihood.initial_bias(data.train["x"][:n].mean(0))

    def fit(self, data: Data, training: Any) -> None:
        super().fit(data, training)
        if self.config.noise:
            return
        with torch.no_grad():
            for g, n in enumerate(self.spec.sizes):
                x = data.train["x"][:n].to(self.decoder[-1].bias.device).expand(len(self.spec.sizes), -1, -1)
                self.mixtures.fit(g, self.encoder(x)[g])

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A draw of each code ``(G, B, Z)``, and its KL ``(G, B)``, 0 without noise."""
        out = self.encoder(x)
        if not self.config.noise:
            return out, out.new_zeros(out.shape[:2])
        mean, logvar = out.chunk(2, dim=-1)
        logvar = logvar.clamp(-12.0, 12.0)
        return mean + torch.randn_like(mean) * torch.exp(0.5 * logvar), kl_to_standard_normal(mean, logvar)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z, kl = self.codes(batch["x"])
        log_p = self.likelihood.log_prob(batch["x"], self.decoder(z))
        return {"loss": (kl - log_p).mean(1).sum(), "log_likelihood": log_p.mean(), "kl": kl.mean()}

    def log_likelihoods(self, x: Tensor) -> Tensor:
        x, n = x.expand(len(self.spec.sizes), -1, -1), DRAWS if self.config.noise else 1
        each = [self.likelihood.log_prob(x, self.decoder(self.codes(x)[0])) for _ in range(n)]
        return torch.stack(each).logsumexp(0) - math.log(n)

    def draw(self, n: int) -> Tensor:
        """By N(0, I), which mixtures are that have not been fitted."""
        z = torch.stack([self.mixtures.sample(g, n) for g in range(len(self.spec.sizes))])
        return self.likelihood.mean(self.decoder(z))
