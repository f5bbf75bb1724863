"""Exact identities of DiffuseVAE (paper 108): what it is without a reconstruction, its shifted process, its first stage and its codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.registry import discover
from elboard.bench.task import Data
from elboard.methods.diffusion.ddpm import DDPM
from elboard.methods.diffusion.diffusevae import DiffuseVAE
from elboard.methods.diffusion.diffusevae_sampler import DiffuseVAESampler
from elboard.methods.diffusion.unconditional_sampler import UnconditionalSampler
from elboard.methods.parts.diffusion_networks import UNet
from elboard.methods.parts.diffusion_solvers import CALLS, EARLIEST, SAMPLERS, posterior_deviation, times_of

IDENTITIES = {
    "diffusevae": (
        "test_without_a_reconstruction_it_is_ddpm",
        "test_networks_differ_in_a_first_layer_alone",
        "test_a_draw_is_that_of_the_papers_posterior",
        "test_the_mean_of_the_posterior_is_that_of_bayes",
        "test_the_network_is_shown_the_shifted_example",
        "test_the_first_stage_has_the_squared_error_and_the_kl",
    ),
    "diffusevae-sampler": (
        "test_codes_of_the_prior_are_those_of_the_model",
        "test_one_component_has_the_moments_of_the_means",
        "test_evaluations_are_those_that_are_paid",
    ),
    "unconditional-sampler": (
        "test_a_sampler_draws_what_its_model_draws",
        "test_evaluations_are_those_that_are_paid",
    ),
}
SHAPE = (1, 6, 6)
SPEC = LikelihoodSpec(SHAPE, 10, likelihood="discretised-logistic")
FORMULATIONS = ("concatenated", "shifted", "both")
GENERATOR = torch.Generator().manual_seed(3)
X, NOISE = torch.rand(5, *SHAPE, generator=GENERATOR), torch.randn(5, *SHAPE, generator=GENERATOR)


class Given(LatentModel, Generator):
    """Codes are all pixels, with one deviation; ``decoded`` of them, by default themselves."""

    def __init__(self, decoded: Callable[[Tensor], Tensor] = lambda x: x, logvar: float = -80.0):
        self.decoded, self.logvar = decoded, logvar

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), torch.full((len(x), 36), self.logvar)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoded(z.view(-1, *SHAPE))

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, 36))


NOTHING = Given(lambda x: torch.full_like(x, 0.5))  # the centre of the range


def filled(method: Any, seed: int = 1) -> Any:
    """With weights that are not 0, those that two networks have in common alike."""
    for network in (method.network, method.average):
        torch.manual_seed(seed)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return method


def made(vae: Any = NOTHING, **options: object) -> DiffuseVAE:
    return filled(DiffuseVAE(DiffuseVAE.Config(**{"width": 8, "evaluations": 6, **options}), SPEC, {"vae": vae}))


def ddpm(**options: object) -> DDPM:
    return filled(DDPM(DDPM.Config(**{"width": 8, "evaluations": 6, **options}), SPEC))


def seeded(function: Callable[..., Tensor], *of: Any) -> Tensor:
    torch.manual_seed(5)
    return function(*of)


@contextmanager
def shown(network: Any) -> Iterator[list[tuple[Tensor, Tensor | None]]]:
    """What a network is given, and what beside it."""
    seen: list[tuple[Tensor, Tensor | None]] = []
    handle = network.register_forward_pre_hook(lambda _, of, known: seen.append((of[0], known.get("beside"))), with_kwargs=True)
    yield seen
    handle.remove()


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_without_a_reconstruction_it_is_ddpm(formulation: str) -> None:
    """Loss and samples, to the bit, where x^ is the centre of the range; where it is another they are others."""
    of, plain, t = made(formulation=formulation), ddpm(), torch.linspace(0.1, 0.9, 5)
    x, zero = of.scaled(X), torch.zeros_like(X)
    assert torch.equal(of.scaled(of.reconstruction(X)), zero)
    assert torch.equal(of.errors(x, t, NOISE, seen=zero), plain.errors(x, t, NOISE))
    assert (of.errors(x, t, NOISE, seen=x) - plain.errors(x, t, NOISE)).abs().min() > 1e-4
    for sampler in ("ddim", "ancestral"):
        found = seeded(of.refined, torch.full((4, *SHAPE), 0.5), sampler, 6, "time")
        assert torch.equal(found, seeded(plain.drawn, 4, sampler, 6, "time"))


def test_networks_differ_in_a_first_layer_alone() -> None:
    """Of one seed they begin alike; the layer of both images side by side is the sum of theirs."""
    states = []
    for beside in (False, True):
        torch.manual_seed(0)
        states.append(UNet(SHAPE, 8, beside=beside).state_dict())
    added = states[1].pop("beside.weight")
    assert states[0].keys() == states[1].keys() and all(torch.equal(of, states[1][name]) for name, of in states[0].items())
    both = F.conv2d(torch.cat([X, NOISE], 1), torch.cat([states[0]["stem.weight"], added], 1), states[0]["stem.bias"], padding=1)
    apart = F.conv2d(X, states[0]["stem.weight"], states[0]["stem.bias"], padding=1) + F.conv2d(NOISE, added, padding=1)
    torch.testing.assert_close(apart, both)
    assert made(formulation="shifted").network.state_dict().keys() == ddpm().network.state_dict().keys(), "of the same size"


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_the_network_is_shown_the_shifted_example(formulation: str) -> None:
    """alpha x_0 + x^ + sigma eps of formulation 2, without x^ of the first; x^ in the range of the diffusion."""
    of, t = made(Given(), formulation=formulation), torch.linspace(0.1, 0.9, 5)
    x, seen = of.scaled(X), of.scaled(of.reconstruction(X))
    torch.testing.assert_close(seen, 2 * X - 1)
    with shown(of.network) as given:
        of.errors(x, t, NOISE, seen=seen)
    ((x_t, beside),) = given
    alpha, sigma = (side(of.wide(t)) for side in (of.path.alpha, of.path.sigma))
    torch.testing.assert_close(x_t, alpha * x + sigma * NOISE + (0 if formulation == "concatenated" else seen))
    assert beside is None if formulation == "shifted" else torch.equal(beside, seen)


def coefficients(path: Any, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c1, c2 and beta of a step from t to s, as the paper has them."""
    abar_t, abar_s = path.alpha(t).square(), path.alpha(s).square()
    alpha = abar_t / abar_s
    return (1 - alpha) * abar_s.sqrt() / (1 - abar_t), alpha.sqrt() * (1 - abar_s) / (1 - abar_t), 1 - alpha


def test_the_mean_of_the_posterior_is_that_of_bayes() -> None:
    """q(x_s | x_t, x_0) from N(x_s; alpha_s x_0 + x^, sigma_s^2) and N(x_t; sqrt(alpha) (x_s - x^) + x^, beta): the process whose
    marginals are the shifted ones at every time."""
    path, (x_0, rough, x_t) = made().path, torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64)
    t, s = (torch.tensor(of, dtype=torch.float64) for of in (0.6, 0.4))
    c1, c2, beta = coefficients(path, t, s)
    ratio, variance = path.alpha(t) / path.alpha(s), path.sigma(s).square()
    torch.testing.assert_close(ratio.square() * variance + beta, path.sigma(t).square())
    precision = 1 / variance + ratio.square() / beta
    mean = ((path.alpha(s) * x_0 + rough) / variance + ratio * (x_t - rough + ratio * rough) / beta) / precision
    torch.testing.assert_close(mean, c1 * x_0 + c2 * x_t + (1 - c2) * rough)
    torch.testing.assert_close(precision**-0.5, posterior_deviation(path, t, s))


@pytest.mark.parametrize("formulation", ["shifted", "both"])
def test_a_draw_is_that_of_the_papers_posterior(formulation: str) -> None:
    """Step by step in the paper's coordinates from x_T ~ N(x^, I), x^ taken off at the end, under the same noise."""
    of, steps = made(Given(), formulation=formulation, clip_data=False), 5
    path, times, rough = of.path, times_of(of.path, steps, "time"), X[:3]
    found = seeded(of.refined, rough, "ancestral", steps, "time")
    torch.manual_seed(5)
    seen = of.scaled(rough)
    x = seen + path.magnitude(times[0]) * torch.randn_like(seen)
    for i, (t, s) in enumerate(pairwise(times)):
        known = {"beside": seen} if formulation == "both" else {}
        with torch.no_grad():
            eps = of.average(x, t.expand(3), **known)
        abar = path.alpha(t).square()
        x_0 = (x - seen) / abar.sqrt() - (1 / abar - 1).sqrt() * eps
        c1, c2, _ = coefficients(path, t, s)
        if i < steps - 1:
            x = c1 * x_0 + c2 * x + (1 - c2) * seen + posterior_deviation(path, t, s) * torch.randn_like(x)
        else:
            x = path.alpha(s) * x_0 + seen + path.sigma(s) * eps  # the last step of the family: EARLIEST is not 0, and no noise is added
    assert times[-1].item() == pytest.approx(EARLIEST)
    torch.testing.assert_close(found, of.centre + of.scale * (x - seen), rtol=1e-3, atol=1e-4)


def test_the_first_stage_has_the_squared_error_and_the_kl() -> None:
    """Twice the loss is sum |x - x^|^2 + a KL, and what no weight changes; a is 1 of as many values as CIFAR-10 has."""
    words = discover("method")["diffusevae"].card.bases["vae"]
    entry = discover("method")[words["method"]]
    torch.manual_seed(0)
    vae = entry.load()(entry.config_class()(**words["set"], hidden=[8]), SPEC)
    loss = seeded(lambda: vae.loss({"x": X})["loss"])
    mean, logvar = vae.encode(X)
    x = seeded(lambda: vae.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)))
    kl = 0.5 * (logvar.exp() + mean.square() - 1 - logvar).sum(1)
    constant = 36 * torch.log(torch.tensor(2 * torch.pi))
    a = 2 * words["set"]["kl_factor"]
    assert a == pytest.approx(196 / 3072, rel=0.01) and kl.mean() > 0.1
    torch.testing.assert_close(2 * loss - constant, ((X - x).square().flatten(1).sum(1) + a * kl).mean(), rtol=1e-5, atol=1e-4)


def test_training_sees_draws_of_the_posterior_and_leaves_the_vae_alone() -> None:
    """Not its mean; and no gradient reaches what decodes."""
    weight = torch.nn.Parameter(torch.ones(()))
    of = made(Given(lambda x: weight * x, logvar=0.0))
    assert not of.reconstruction(X).requires_grad
    spread = torch.cat([of.reconstruction(X) - X for _ in range(100)]).std().item()
    assert spread == pytest.approx(1, abs=0.03)
    of.loss({"x": X})["loss"].backward()
    assert weight.grad is None and of.network.beside.weight.grad.abs().sum() > 0
    assert not any("vae" in name or "base" in name for name in of.state_dict())


def test_codes_are_found_where_the_model_is() -> None:
    """A method that is not trained is not placed before its ``fit``; what it starts from is."""
    of = sampler(DiffuseVAESampler, made(Given()).to("meta"), latents="mixture")
    assert of.device.type == "cpu" and of.means(X).device.type == "meta"


def test_what_has_no_codes_is_refused() -> None:
    with pytest.raises(UserError, match="DDPM has no codes"):
        made(ddpm())
    with pytest.raises(UserError, match="DDPM is no DiffuseVAE"):
        DiffuseVAESampler(DiffuseVAESampler.Config(), SPEC, {"model": ddpm()})


def sampler(of: type, base: Any, **options: object) -> Any:
    return of(of.Config(**options), SPEC, {"model": base})


@pytest.mark.parametrize("name", ["ddim", "heun", "ancestral"])
def test_a_sampler_draws_what_its_model_draws(name: str) -> None:
    base = ddpm(sampler=name, evaluations=7)
    assert torch.equal(seeded(sampler(UnconditionalSampler, base, sampler=name).sample_in, 3, 7), seeded(base.sample, 3))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize(("of", "base"), [(UnconditionalSampler, ddpm), (DiffuseVAESampler, made)])
def test_evaluations_are_those_that_are_paid(of: type, base: Callable[[], Any], name: str) -> None:
    method = sampler(of, base(), sampler=name)
    with shown(method.base.average) as given:
        method.sample_in(4, 11)
    assert [len(x) for x, _ in given] == [4] * (11 // CALLS.get(name, 1) * CALLS.get(name, 1))


def test_codes_of_the_prior_are_those_of_the_model() -> None:
    base = made(Given(), sampler="ddim")
    assert torch.equal(seeded(sampler(DiffuseVAESampler, base).sample_in, 3, 6), seeded(base.sample, 3))


def test_one_component_has_the_moments_of_the_means() -> None:
    """Maximum likelihood in closed form; codes drawn from it are decoded and refined."""
    base, x = made(Given(logvar=0.0)), torch.rand(300, *SHAPE, generator=torch.Generator().manual_seed(6))
    method, data = sampler(DiffuseVAESampler, base, latents="mixture", components=1), Data(SPEC, {"x": x}, {"x": x})
    method.prepare(data)
    method.fit(data, None)
    means = x.flatten(1).double()
    torch.testing.assert_close(method.mixture.means[0], means.mean(0))
    covariance = torch.cov(means.T, correction=0) + method.mixture.floor * torch.eye(36, dtype=torch.float64)
    torch.testing.assert_close(method.mixture.factors[0] @ method.mixture.factors[0].T, covariance)
    found = seeded(method.sample_in, 4, 6)
    torch.manual_seed(5)
    rough = method.mixture.sample(4, like=X).view(-1, *SHAPE)
    assert torch.equal(found, base.refined(rough, "ddim", 6, "time"))
