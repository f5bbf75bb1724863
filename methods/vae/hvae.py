"""Hierarchical variational autoencoder with top-down inference (Sonderby et al. 2016; Child 2021).

    L(x) = E_q[log p(x|z)] - sum_l E_q KL(q(z_l|z_<l, x) || p(z_l|z_<l)),   q and p share the state that z_<l leaves

Differences from the papers: three groups of fully connected layers on binary images; no convolutions, residual blocks or skipped gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import BinaryLikelihood
from elboard.bench.task import Batch
from elboard.methods.vae.base import ROWS
from elboard.methods.vae.ladder import Ladder

CARD = MethodCard(
    name="hvae",
    title="Hierarchical VAE, top-down",
    family="vae",
    home="generation/mnist",
    cite="Sonderby et al. 2016; Child 2021",
    splits=True,
    defaults="convention",
)


class HVAE(Ladder, Generator, BinaryLikelihood):
    """Trained on the evidence lower bound."""

    @dataclass(kw_only=True)
    class Config(Ladder.Config):
        pass

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        found = self.decoder.descend(len(x), self.q(x), self.decoder.prior)
        reconstruction = -self.log_likelihood(x, found.state)
        return {"elbo": -reconstruction - found.kl, "kl": found.kl, "reconstruction": reconstruction}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = {name: value.mean() for name, value in self.elbo(batch["x"]).items()}
        return {"loss": -terms["elbo"], **terms}

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        at_once, parts, features = max(1, ROWS // len(x)), [], self.encoder(x)
        for start in range(0, k, at_once):
            n = min(at_once, k - start)
            many = x.repeat_interleave(n, dim=0)
            found = self.decoder.descend(len(many), self.posterior.given(features.repeat_interleave(n, dim=0)), self.decoder.prior)
            parts.append((self.log_likelihood(many, found.state) + found.log_ratio).unflatten(0, (len(x), n)))
        return torch.logsumexp(torch.cat(parts, dim=1), dim=1) - math.log(k)

    def sample(self, n: int) -> Tensor:
        return self.image(self.decoder.descend(n, self.decoder.prior, self.decoder.prior).state)
