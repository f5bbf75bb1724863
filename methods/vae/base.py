"""What variational autoencoders share: networks, posterior, evidence bounds, sampling.

    log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),   q(z|x) = N(mu(x), diag sigma^2(x)),   p(z) = N(0, I)

The networks are those of Burda, Grosse and Salakhutdinov 2016, section 5 (one stochastic layer), for all methods of the family. A method
with another network, prior, posterior or likelihood overrides the one ``make_...`` that gives it. Where a task names the network of its
board (``spec.network``), that is the network, and ``hidden`` and ``activation`` are of no account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.kinds.likelihood import AmortisedLikelihood, BinaryLikelihood, GreyLikelihood, LikelihoodModel, RealLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.convolutions import ConvDecoder, ConvEncoder, ConvOutput
from elboard.methods.parts.likelihoods import likelihood
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian
from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.parts.scores import NegativeBound

ROWS = 20_000  # decoded at once: bounds the memory of many-sample bounds


def initialise(network: nn.Module) -> None:
    """Glorot and Bengio's weights for all dense layers (Burda et al. 2016)."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


class Autoencoding(Method):
    """Encoder, decoder, likelihood and prior, without any objective: what deterministic and other autoencoders are built of too."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [200, 200])  # Burda et al. 2016, section 5
        latent_dim: Count = 50  # ditto
        activation: Literal["relu", "tanh", "softplus", "elu", "silu"] = "tanh"  # ditto

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoder = self.make_encoder()
        self.posterior = self.make_posterior(self.encoder.n_features)
        self.decoder = self.make_decoder()
        self.out = self.make_output(self.decoder.n_features)
        self.likelihood, self.prior = self.make_likelihood(), self.make_prior()
        initialise(self)

    @property
    def network(self) -> str:
        """The network that the task names, or none."""
        return getattr(self.spec, "network", "")

    def make_encoder(self) -> nn.Module:
        """Examples ``(B, *shape)`` to features ``(B, n_features)``."""
        if self.network:
            return ConvEncoder(self.network, self.spec.shape)
        return MLP([math.prod(self.spec.shape), *self.config.hidden], self.config.activation)

    def make_posterior(self, n_features: int) -> nn.Module:
        """Features to q(z|x)."""
        return DiagonalGaussian(n_features, self.config.latent_dim)

    def make_decoder(self) -> nn.Module:
        """Codes ``(N, latent_dim)`` to features ``(N, n_features)``, from which a linear layer makes the likelihood's parameters."""
        if self.network:
            return ConvDecoder(self.network, self.spec.shape, self.config.latent_dim)
        return MLP([self.config.latent_dim, *reversed(self.config.hidden)], self.config.activation)

    def make_output(self, n_features: int) -> nn.Module:
        """Features to the likelihood's parameters ``(N, D)``: a linear map with a ``bias`` (D,)."""
        return ConvOutput(n_features, self.spec.shape) if self.network else nn.Linear(n_features, math.prod(self.spec.shape))

    def make_likelihood(self) -> nn.Module:
        return likelihood(self.spec)

    def make_prior(self) -> Prior:
        return StandardNormal(self.config.latent_dim)

    def prepare(self, data: Data) -> None:
        mean = data.train["x"].flatten(1).mean(0)
        with torch.no_grad():
            self.out.bias.copy_(self.likelihood.initial_bias(mean))

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.output(z)).unflatten(-1, self.spec.shape)

    def output(self, z: Tensor) -> Tensor:
        """Parameters of p(x|z): ``(..., Z)`` -> ``(..., D)``."""
        return self.out(self.decoder(z.reshape(-1, z.shape[-1]))).unflatten(0, z.shape[:-1])

    def sample(self, n: int) -> Tensor:
        return self.decode(self.prior.sample(n, like=self.out.weight))


class Variational(Autoencoding, Generator, LikelihoodModel):
    """An autoencoder with a posterior of any kind, the bound of one sample and that of k; subclasses give the objective."""

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """One sample of z an example, KL in closed form where the prior has it (Kingma and Welling 2014, estimator B)."""
        q = self.posterior(self.encoder(x))
        draw = q.sample()
        reconstruction = -self.likelihood.log_prob(x.flatten(1), self.output(draw.z))
        divergence = self.prior.divergence(q, draw)
        return {"elbo": -reconstruction - divergence, "kl": divergence, "reconstruction": reconstruction, "z": draw.z}

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """``log p(x, z_i) - log q(z_i | x)`` for k samples of the posterior, ``(B, k)``."""
        q = self.posterior(self.encoder(x))
        draw = q.sample(k)
        ratio = self.prior.log_ratio(q, draw)
        return self.likelihood.log_prob(x.flatten(1)[:, None], self.output(draw.z)) + ratio

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        at_once = max(1, ROWS // len(x))
        parts = [torch.logsumexp(self.log_weights(x, min(at_once, k - start)), dim=1) for start in range(0, k, at_once)]
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(k)


class GaussianVAE(Variational, LatentModel):
    """One with a Gaussian posterior, by default a diagonal one, and a standard normal prior."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q = self.posterior(self.encoder(x))
        return q.mean, q.logvar


class AnyData(BinaryLikelihood, GreyLikelihood, RealLikelihood, NegativeBound):
    """Data of every likelihood, with minus the ELBO as OOD score."""


class AnyDataVAE(GaussianVAE, AnyData, AggregatePosterior, AmortisedLikelihood):
    """A Gaussian one for data of every likelihood."""

    inference, heads = ("encoder", "posterior"), ("posterior",)

    def draw_codes(self, x: Tensor) -> Tensor:
        return self.posterior(self.encoder(x)).sample().z

    def draw_prior(self, n: int) -> Tensor:
        return self.prior.sample(n, like=self.out.weight)
