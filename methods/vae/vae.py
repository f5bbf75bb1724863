"""Variational autoencoder (Kingma and Welling 2014).

    L(x) = E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || p(z)),   z = mu + sigma eps,  eps ~ N(0, I)

with one sample an example and the KL in closed form (estimator B). beta = 1 is the evidence lower bound; beta is there for the limits:
0 is an autoencoder with noise, and ``kl_warmup`` raises it linearly from 0 over a share of training. The curves and the selection use
the bound with beta = 1.

Differences from the paper: Adam instead of Adagrad, no weight decay, two hidden layers of 200 instead of one of 500 (the network of
Burda et al. 2016, shared by the family).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Share
from elboard.bench.task import Batch
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="vae",
    title="Variational autoencoder",
    family="vae",
    home="generation/digits",
    paper="025",
    cite="Kingma and Welling 2014",
    splits=True,
    defaults="convention",
)


class VAE(AnyDataVAE):
    """Trained on the evidence lower bound."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        beta: NonNegative = 1.0
        kl_warmup: Share = 0.0  # share of training over which beta rises from 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = self.elbo(batch["x"])
        beta = self.config.beta * ramp(self.progress, self.config.kl_warmup)
        objective = terms["reconstruction"] + beta * terms["kl"]
        return {"loss": objective.mean(), "elbo": terms["elbo"].mean(), "kl": terms["kl"].mean()}
