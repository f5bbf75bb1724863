"""What must hold exactly of the KL of a population of codes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace as TorchLaplace
from torch.distributions import Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.vae.aggregate_kl import AggregateKLVAE, Laplace, population_kl, variance_term

IDENTITIES = {
    "aggregate-kl-vae": (
        "test_the_population_term_is_the_divergence_of_the_moments",
        "test_half_the_variance_term_and_the_means_are_the_ordinary_kl",
        "test_a_single_kl_is_the_elbo_of_a_fixed_laplace_scale",
    )
}
SPEC = LikelihoodSpec((6,), 100, likelihood="gaussian")


def build(**options: Any) -> AggregateKLVAE:
    torch.manual_seed(0)
    return AggregateKLVAE(AggregateKLVAE.Config(**({"hidden": [5], "latent_dim": 3} | options)), SPEC)


def examples(n: int = 9) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def same_noise(function: Any, *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


def test_the_population_term_is_the_divergence_of_the_moments() -> None:
    mean = torch.randn(50, 4) * torch.tensor([0.3, 1.0, 2.0, 1.0]) + torch.tensor([0.0, 0.5, 0.0, -1.0])
    moments = Normal(mean.mean(0), mean.var(0, unbiased=False).sqrt())
    assert population_kl(mean).item() == pytest.approx(kl_divergence(moments, Normal(0.0, 1.0)).sum().item(), rel=1e-4)
    white = (mean - mean.mean(0)) / mean.std(0, unbiased=False)
    assert population_kl(white).item() == pytest.approx(0.0, abs=1e-5)


def test_means_that_coincide_have_a_finite_term() -> None:
    mean = torch.ones(5, 2, requires_grad=True)
    term = population_kl(mean)
    term.backward()
    assert term.item() == pytest.approx(1 + 1e-6 - 1 - math.log(1e-6), rel=1e-5) and mean.grad.isfinite().all()


def test_half_the_variance_term_and_the_means_are_the_ordinary_kl() -> None:
    mean, logvar = torch.randn(7, 3), torch.randn(7, 3)
    wanted = kl_to_standard_normal(mean, logvar).mean() - 0.5 * mean.square().sum(1).mean()
    torch.testing.assert_close(0.5 * variance_term(logvar), wanted)
    assert variance_term(torch.zeros(2, 3)) == 0


def test_a_single_kl_is_the_elbo_of_a_fixed_laplace_scale() -> None:
    """R = D / b: the loss is minus the ELBO of that scale, but for the constant D log 2 b."""
    method = build(kl="single", reconstruction=6 / 0.5)
    with torch.no_grad():
        method.likelihood.log_scale.fill_(math.log(0.5))
    out = same_noise(method.loss, {"x": examples()})
    assert out["loss"].item() == pytest.approx(-out["elbo"].item() - 6 * math.log(2 * 0.5), rel=1e-5)
    assert out["elbo"].item() == pytest.approx(same_noise(method.elbo, examples())["elbo"].mean().item(), rel=1e-5)


def test_terms_and_their_weights() -> None:
    x = {"x": examples()}
    plain, none, heavy = (same_noise(build(individual=w, reconstruction=r).loss, x) for w, r in ((0.1, 6.0), (0.0, 6.0), (0.1, 12.0)))
    assert (plain["loss"] - none["loss"]).item() == pytest.approx(0.1 * plain["individual"].item(), rel=1e-4)
    assert (heavy["loss"] - plain["loss"]).item() == pytest.approx(6 * plain["l1"].item(), rel=1e-4)
    assert none["loss"].item() == pytest.approx((6 * none["l1"] + none["population"]).item(), rel=1e-5)
    with pytest.raises(UserError, match="population"):
        build(kl="populaton")


def test_without_the_variance_term_nothing_holds_variances_but_the_reconstruction() -> None:
    method = build(individual=0.0)
    method.config.reconstruction = 0.0  # the limit, which is no option
    gradient = torch.autograd.grad(method.loss({"x": examples()})["loss"], method.posterior.weight)[0]
    assert gradient[:3].abs().sum() > 0 and (gradient[3:] == 0).all()


def test_the_scale_learns_from_the_bound_and_changes_nothing_else() -> None:
    gradients = []
    for log_scale in (0.0, -1.0):
        method = build()
        with torch.no_grad():
            method.likelihood.log_scale.fill_(log_scale)
        same_noise(method.loss, {"x": examples()})["loss"].backward()
        gradients.append([method.posterior.weight.grad, method.out.weight.grad])
        error = same_noise(method.loss, {"x": examples()})["l1"].item()
        assert method.likelihood.log_scale.grad.item() == pytest.approx(6 - 6 * error / math.exp(log_scale), rel=1e-4)
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))


def test_laplace_is_torchs() -> None:
    likelihood, x, out = Laplace(), torch.randn(5, 6), torch.randn(5, 6)
    with torch.no_grad():
        likelihood.log_scale.fill_(-0.7)
    torch.testing.assert_close(likelihood.log_prob(x, out), TorchLaplace(out, math.exp(-0.7)).log_prob(x).sum(1))
