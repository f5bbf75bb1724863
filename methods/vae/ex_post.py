"""Another density for the codes of a trained autoencoder (Ghosh et al. 2020; Asperti, Evangelista and Loli Piccolomini 2021).

    z ~ q(z|x) of training examples (z = f(x) where codes have no noise),    samples  x^ = g(z),  z ~ the density that is fitted to them

``density=mixture``: Gaussians with full covariances, by expectation maximisation. ``second``: a VAE of codes, z ~ p(z|u) (Dai and
Wipf 2019), trained as long as the first one on fresh draws of z, with a learned variance. ``prior``: N(0, I), which is that of a VAE
already, and for regularised autoencoders the law that their penalty on codes belongs to. Encoder and decoder are those of the run
``model`` and stay as they are: what this costs comes on top of theirs.

Differences from the paper: the second stage has a variance that is learned in the place of a weight of 5e-3 on its KL, and two layers of
256 units, whose input is not appended to the last one; models are the family's dense ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.mixtures import GaussianMixture
from elboard.methods.parts.priors import StandardNormal
from elboard.methods.vae.base import Autoencoding
from elboard.methods.vae.real import RealVAE

CARD = MethodCard(
    name="ex-post",
    title="Autoencoder with a density of codes fitted afterwards",
    family="vae",
    home="samples/mnist",
    paper="042",
    cite="Ghosh et al. 2020; Asperti, Evangelista and Loli Piccolomini 2021",
    bases={"model": {"method": "vae"}},
    defaults="convention",
)


class ExPostDensity(Method, Generator, AggregatePosterior):
    """Only the density of codes is learned."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        density: Literal["mixture", "second", "prior"] = "mixture"
        components: Count = 10  # of the mixture: Ghosh et al. 2020
        hidden: list[Count] = field(default_factory=lambda: [256, 256])  # of the second stage; the paper has 1,536 units
        activation: Literal["relu", "tanh", "softplus", "elu", "silu"] = "relu"  # ditto: the paper

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, Autoencoding) or not isinstance(self.base, AggregatePosterior):
            raise UserError(f"{type(self.base).__name__} has no codes whose density could be fitted: vae or rae-l2 has")
        dim = self.base.config.latent_dim
        if config.density == "second":
            parts = RealVAE.Config(hidden=config.hidden, activation=config.activation, latent_dim=dim)
            self.density = RealVAE(parts, LikelihoodSpec((dim,), spec.n_train, likelihood="gaussian"))
        else:
            self.density = GaussianMixture(dim, config.components) if config.density == "mixture" else StandardNormal(dim)

    def fit(self, data: Data, training: Any) -> None:
        if self.config.density == "second":
            training.run(self)
        elif self.config.density == "mixture":
            with torch.no_grad():  # the model is on its device already, what is fitted here is not
                codes = [self.draw_codes(part.to(self.base.device)).to(self.device) for part in data.train["x"].split(1000)]
                self.density.fit(torch.cat(codes), iterations=50)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.draw_codes(batch["x"])
        if self.config.density != "second":
            return {"loss": -self.density.log_prob(z).mean()}
        terms = self.density.elbo(z)
        return {"loss": -terms["elbo"].mean(), "kl": terms["kl"].mean()}

    @torch.no_grad()
    def draw_codes(self, x: Tensor) -> Tensor:
        return self.base.draw_codes(x)

    def draw_prior(self, n: int) -> Tensor:
        like = self.base.out.weight
        if self.config.density != "second":
            return self.density.sample(n, like=like)
        mean = self.density.sample(n)
        return mean + self.density.noise_variance().sqrt() * torch.randn_like(mean)

    def sample(self, n: int) -> Tensor:
        return self.base.decode(self.draw_prior(n))
