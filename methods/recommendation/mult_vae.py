"""Mult-VAE, variational autoencoder with multinomial likelihood (Liang, Krishnan, Hoffman and Jebara 2018).

    max  E_q(z|x)[ sum_i x_i log softmax(f(z))_i ] - beta KL(q(z|x) || N(0, I)),     I - 600 - 200 - 600 - I

The likelihood is summed over clicks, the KL over latent units. beta rises linearly to ``beta`` and stays there: the paper reaches its cap
of 0.2 after 40,000 updates; on small data the rise is a share of training (``anneal``). ``elbo`` in the curves has beta = 1. Scores are the
logits at the mean of q(z|x), without dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Range, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.schedules import ramp
from elboard.methods.recommendation.base import ClickAutoencoder, multinomial_log_likelihood

CARD = MethodCard(
    name="mult-vae",
    title="Variational autoencoder with multinomial likelihood",
    family="recommendation",
    home="recommendation/ml-100k",
    paper="045",
    cite="Liang, Krishnan, Hoffman and Jebara 2018",
    splits=True,
    defaults="paper",
)


class MultVAE(ClickAutoencoder):
    """A Gaussian code under an annealed KL."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: Count = 600  # section 4.3
        latent_dim: Count = 200  # section 4.3
        dropout: Annotated[float, Range(0, below=1)] = 0.5  # section 4.3
        beta: NonNegative = 0.2  # the cap that the paper found on validation data
        anneal: Share = 0.5  # share of training over which beta rises

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        c, items = config, spec.shape[0]
        super().__init__(config, spec, [items, c.hidden, 2 * c.latent_dim], [c.latent_dim, c.hidden, items], bases)

    def beta(self) -> float:
        """The KL's weight now."""
        c = self.config
        return c.beta * ramp(self.progress, c.anneal)

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        """``log p(x|z)`` of clicks ``(B, I)`` by the decoder's output ``(B, I)``, up to a constant -> ``(B,)``."""
        return multinomial_log_likelihood(x, output)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        mean, logvar = self.code(x).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        log_likelihood = self.log_likelihood(x, self.decoder(z)).mean()
        kl = kl_to_standard_normal(mean, logvar).mean()
        return {"loss": -log_likelihood + self.beta() * kl, "elbo": log_likelihood - kl, "kl": kl}

    def scores(self, history: Tensor) -> Tensor:
        return self.decoder(self.code(history).chunk(2, dim=1)[0])
