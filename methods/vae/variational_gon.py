"""Variational gradient origin network (Bond-Taylor and Willcocks 2021): a VAE whose encoder is a gradient of its own bound.

    q(z | h) = N(A h + a, diag exp(B h + b)),      V(h; eps) = -log p(x | z) + KL(q(z | h) || N(0, I)),   z = mu + sigma eps
    h = - grad_{h0} V(h0; eps_1)  at h0 = 0,       loss = V(h; eps_2)  with fresh noise

The two linear maps are the only network beside the decoder, which prior samples enter directly. h depends on x and on the noise eps_1;
given that noise q is a distribution of z, so that V(h) is a bound on the evidence for each eps_1, and so is its mean. Importance bounds
draw one eps_1 an example for all their samples.

Differences from the paper: the family's dense network without batch normalisation instead of transposed convolutions; binary or grey
pixels as the task has them; noise, instead of the posterior mean, when bounds are evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.vae.base import AnyDataVAE
from elboard.methods.vae.origin import GradientOrigin

CARD = MethodCard(
    name="variational-gon",
    title="Variational gradient origin network",
    family="vae",
    home="generation/digits",
    paper="031",
    cite="Bond-Taylor and Willcocks 2021",
    defaults="convention",
)


class VariationalGON(GradientOrigin, AnyDataVAE):
    """Trained on the evidence lower bound."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        latent_dim: int = 48  # the paper
        activation: str = "elu"  # the paper

    def inner(self, x: Tensor, origin: Tensor) -> Tensor:
        q = self.posterior(origin)
        draw = q.sample()
        return self.prior.divergence(q, draw) - self.likelihood.log_prob(x.flatten(1), self.output(draw.z))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = self.elbo(batch["x"])
        return {"loss": -terms["elbo"].mean(), "kl": terms["kl"].mean()}
