"""A variational autoencoder with another part: one ``make_...`` is overridden, and all bounds follow."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.networks import SmallCNN
from elboard.methods.parts.posteriors import DiagonalGaussian, Draw, Gaussian
from elboard.methods.parts.priors import Prior, StandardNormal
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.vae import VAE

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")


def build(cls: type[VAE]) -> VAE:
    torch.manual_seed(0)
    return cls(cls.Config(hidden=[8], latent_dim=2), SPEC)


def images(n: int = 5) -> Tensor:
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


class Mixture(Prior):
    """Learned Gaussians of equal weight, given by ``sample`` and ``log_prob`` alone."""

    def __init__(self, mean: Tensor):
        super().__init__()
        self.mean = nn.Parameter(mean)

    def _distribution(self) -> MixtureSameFamily:
        return MixtureSameFamily(Categorical(logits=torch.zeros(len(self.mean))), Independent(Normal(self.mean, 0.7), 1))

    def sample(self, n: int, like: Tensor) -> Tensor:
        return self._distribution().sample((n,))

    def log_prob(self, z: Tensor) -> Tensor:
        return self._distribution().log_prob(z)


class MixtureVAE(VAE):
    def make_prior(self) -> Prior:
        return Mixture(torch.zeros(3, self.config.latent_dim))


@dataclass(frozen=True)
class Shifted:
    """z = z_0 + tanh(z_0) / 2 element by element, z_0 from a Gaussian: a flow of one step."""

    base: Gaussian

    mean = property(lambda self: self.base.mean)
    logvar = property(lambda self: self.base.logvar)

    def sample(self, k: int = 0) -> Draw:
        draw = self.base.sample(k)
        return Draw(draw.z + draw.z.tanh() / 2, draw.noise)

    def log_prob(self, draw: Draw) -> Tensor:
        mean, std = (part if draw.noise.ndim == 2 else part[:, None] for part in (self.mean, torch.exp(0.5 * self.logvar)))
        slope = 1 + (1 - (mean + std * draw.noise).tanh() ** 2) / 2
        return self.base.log_prob(draw) - slope.log().sum(-1)


class Flow(DiagonalGaussian):
    def forward(self, features: Tensor) -> Shifted:
        return Shifted(super().forward(features))


class FlowVAE(VAE):
    def make_posterior(self, n_features: int) -> nn.Module:
        return Flow(n_features, self.config.latent_dim)


class ConvVAE(VAE):
    def make_encoder(self) -> nn.Module:
        return SmallCNN(self.spec.shape, n_features=8)


def exact(method: VAE, x: Tensor) -> Tensor:
    """log p(x) by a grid over the two codes, under the method's own prior."""
    axis = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(axis, axis)
    joint = method.likelihood.log_prob(x.flatten(1)[:, None], method.output(z)[None]) + method.prior.log_prob(z)
    return torch.logsumexp(joint, dim=1) + 2 * torch.log(axis[1] - axis[0])


@pytest.mark.parametrize("cls", [VAE, MixtureVAE, FlowVAE, ConvVAE])
@torch.no_grad()
def test_bounds_of_a_method_with_another_part(cls: type[VAE]) -> None:
    method, x = build(cls), images()
    if cls is MixtureVAE:
        method.prior.mean.copy_(torch.tensor([[-0.8, 0.0], [0.8, 0.0], [0.0, 0.6]]))
    wanted = exact(method, x)
    torch.testing.assert_close(method.log_evidence(x, 20_000), wanted, atol=0.05, rtol=0)
    bound = torch.stack([method.elbo(x)["elbo"] for _ in range(2000)]).mean(0)
    assert (bound < wanted + 0.02).all()
    torch.testing.assert_close(bound, method.log_weights(x, 4000).mean(1), atol=0.25, rtol=0)
    assert method.sample(4).shape == (4, 1, 4, 4) and method.encode(x)[0].shape == (5, 2)


@pytest.mark.parametrize("cls", [MixtureVAE, FlowVAE, ConvVAE])
def test_every_part_learns(cls: type[VAE]) -> None:
    method = build(cls)
    method.loss({"x": images()})["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


@torch.no_grad()
def test_closed_forms_of_the_standard_normal_are_those_of_any_prior() -> None:
    q, prior = Gaussian(torch.randn(4, 3), torch.randn(4, 3)), StandardNormal(3)
    for draw in (q.sample(), q.sample(6)):
        torch.testing.assert_close(prior.log_ratio(q, draw), Prior.log_ratio(prior, q, draw))
        torch.testing.assert_close(prior.log_prob(draw.z), Normal(0, 1).log_prob(draw.z).sum(-1))
    mean, std = q.mean[:, None], torch.exp(0.5 * q.logvar)[:, None]
    torch.testing.assert_close(q.log_prob(draw), Normal(mean, std).log_prob(draw.z).sum(-1))
    estimate = -prior.log_ratio(q, q.sample(200_000)).mean(1)
    torch.testing.assert_close(prior.divergence(q, q.sample()), estimate, atol=0.05, rtol=0.01)


def test_names_in_checkpoints_stay() -> None:
    layers = ("encoder.1", "posterior", "decoder.1", "out")
    assert set(build(VAE).state_dict()) == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


def test_a_ramp() -> None:
    assert [ramp(progress, 0.5) for progress in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0.0, 0.0) == 1.0
