"""What must hold exactly of the closed-form reconstruction of linear decoders, and of gradients that go over from it to samples."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.parts.discrete import Bits, OneHots, Uniform, spread
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.silent import SilentVAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "silent-vae": (
        "test_the_expectation_is_that_over_all_codes",
        "test_the_mean_of_stochastic_gradients_is_the_exact_one",
        "test_the_encoder_goes_over_from_the_linear_decoder_to_the_other",
    )
}
SPEC = LikelihoodSpec((4,), 100, likelihood="gaussian")


def build(spec: LikelihoodSpec = SPEC, **options: Any) -> SilentVAE:
    torch.manual_seed(0)
    method = SilentVAE(SilentVAE.Config(**({"hidden": [5], "latent_dim": 4, "classes": 2} | options)), spec).double()
    with torch.no_grad():
        method.likelihood.log_std.fill_(-0.3)
        for name, parameter in method.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return method


def examples(n: int = 3) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def encoder_gradient(method: SilentVAE, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.autograd.grad(method.loss({"x": x})["loss"], method.posterior.bias)[0]


def all_codes(latents: str) -> Tensor:
    """Every code of four bits, or of two groups of two."""
    if latents == "bernoulli":
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    return torch.stack([torch.cat([eye[i], eye[j]]) for i, j in itertools.product(range(2), repeat=2)])


@pytest.mark.parametrize("latents", ["bernoulli", "categorical"])
def test_the_expectation_is_that_over_all_codes(latents: str) -> None:
    method, x = build(latents=latents, decoder="linear", estimator="exact"), examples()
    q, z = method.posterior(method.encoder(x)), all_codes(latents)[None].expand(3, -1, -1)
    log_q = q.log_prob(Draw(z, z))
    torch.testing.assert_close(log_q.logsumexp(1), torch.zeros(3, dtype=torch.float64))
    wanted = -(log_q.exp() * method.likelihood.log_prob(x[:, None], method.output(z))).sum(1)
    torch.testing.assert_close(method.expected(q, x, method.out), wanted, rtol=1e-12, atol=1e-12)
    divergence = (log_q.exp() * (log_q - method.prior.log_prob(z))).sum(1)
    torch.testing.assert_close(method.prior.divergence(q, q.sample()), divergence)
    exact = torch.logsumexp(method.likelihood.log_prob(x[:, None], method.output(z)) + method.prior.log_prob(z), dim=1)
    torch.testing.assert_close(method.log_evidence(x, 20_000), exact, rtol=0, atol=0.03)


def test_the_expectation_is_the_mean_over_samples_of_a_gaussian() -> None:
    method, x = build(decoder="linear", estimator="exact"), examples(1)
    q = method.posterior(method.encoder(x))
    cost = -method.likelihood.log_prob(x[:, None], method.output(q.sample(100_000).z))
    error = cost.std(dim=1) / math.sqrt(100_000)
    assert ((cost.mean(1) - method.expected(q, x, method.out)).abs() < 4 * error).all()


def test_the_exact_gradient_has_no_noise_and_others_have() -> None:
    x = examples()
    for options in ({"latents": "gaussian"}, {"latents": "bernoulli"}, {"latents": "categorical"}):
        exact = build(decoder="linear", estimator="exact", **options)
        assert encoder_gradient(exact, x, 1).equal(encoder_gradient(exact, x, 2))
        noisy = build(decoder="linear", estimator="reinforce", **options)
        assert not encoder_gradient(noisy, x, 1).equal(encoder_gradient(noisy, x, 2))


@pytest.mark.parametrize(
    ("latents", "estimator", "unbiased"),
    [
        ("gaussian", "reparameterised", True),
        ("gaussian", "reinforce", True),
        ("bernoulli", "reinforce", True),
        ("categorical", "reinforce", True),
        ("bernoulli", "gumbel", False),
        ("categorical", "gumbel", False),
    ],
)
def test_the_mean_of_stochastic_gradients_is_the_exact_one(latents: str, estimator: str, unbiased: bool) -> None:
    """Of one example repeated, whose batch gradient is a mean over draws; a relaxation is biased, as it must be."""
    x = 2 * examples(1)
    exact = encoder_gradient(build(latents=latents, decoder="linear", estimator="exact"), x)
    method = build(latents=latents, decoder="linear", estimator=estimator)
    found = torch.stack([encoder_gradient(method, x.expand(4000, -1), seed) for seed in range(20)])
    error = found.std(dim=0) / math.sqrt(20)
    assert ((found.mean(0) - exact).abs() < 5 * error + 1e-9).all() == unbiased


def test_covariance_of_the_reparameterised_gradient() -> None:
    """P diag(sigma^2) P with P = W^T W / s^2, of the gradient in the mean."""
    method, x = build(decoder="linear"), examples(1)
    q = method.posterior(method.encoder(x))
    mean = q.mean.detach().expand(200_000, -1).clone().requires_grad_()
    cost = -method.likelihood.log_prob(x, method.output(Gaussian(mean, q.logvar.detach()).sample().z))
    gradients = torch.autograd.grad(cost.sum(), mean)[0]
    p = method.out.weight.T @ method.out.weight / method.noise_variance()
    torch.testing.assert_close(torch.cov(gradients.T), (p @ torch.diag(q.logvar.exp()[0]) @ p).detach(), rtol=0.05, atol=0.02)


def test_the_best_posterior_of_a_decoder_with_orthogonal_columns_reaches_the_evidence() -> None:
    """sigma_j^2 = 1 / (1 + P_jj) and m = (I + P)^-1 W^T (x - b) / s^2: gradients vanish; with P diagonal the ELBO is log p(x)."""
    method, x = build(decoder="linear", estimator="exact"), examples()
    with torch.no_grad():
        method.out.weight.copy_(torch.linalg.qr(method.out.weight)[0] * torch.tensor([0.5, 1.0, 1.5, 2.0]))
    w, v = method.out.weight.detach(), method.noise_variance()
    p = w.T @ w / v
    mean = torch.linalg.solve(torch.eye(4).double() + p, w.T @ ((x - method.out.bias.detach()) / v).T).T.requires_grad_()
    logvar = -torch.log1p(p.diagonal()).expand(3, -1).clone().requires_grad_()
    elbo = -method.expected(Gaussian(mean, logvar), x, method.out) - kl_to_standard_normal(mean, logvar)
    gradients = torch.autograd.grad(elbo.sum(), (mean, logvar))
    assert max(gradient.abs().max() for gradient in gradients) < 1e-10
    covariance = (w @ w.T + v * torch.eye(4)).numpy()
    evidence = multivariate_normal(method.out.bias.detach().numpy(), covariance).logpdf(x.numpy())
    torch.testing.assert_close(elbo.detach(), torch.from_numpy(evidence))


def test_the_encoder_goes_over_from_the_linear_decoder_to_the_other() -> None:
    """At a = 1 its gradient does not see theta, at a = 0 not psi, where it is the VAE's; those of theta and s are the same for all a."""
    x, at = examples(), {}
    for change in ("none", "theta", "psi"):
        method = build(silent=0.5)
        with torch.no_grad():
            for part in {"none": (), "theta": (method.decoder, method.out), "psi": (method.linear,)}[change]:
                for parameter in part.parameters():
                    parameter.add_(0.1)
        for progress in (0.0, 0.25, 0.9):
            method.progress = progress
            torch.manual_seed(3)
            loss = method.loss({"x": x})["loss"]
            at[change, progress] = torch.autograd.grad(loss, [method.posterior.bias, method.out.weight, method.likelihood.log_std])
    assert at["none", 0.0][0].equal(at["theta", 0.0][0]) and not at["none", 0.0][0].equal(at["psi", 0.0][0])
    assert at["none", 0.9][0].equal(at["psi", 0.9][0]) and not at["none", 0.9][0].equal(at["theta", 0.9][0])
    for progress in (0.25, 0.9):
        torch.testing.assert_close(at["none", 0.0][1:], at["none", progress][1:])
    torch.testing.assert_close(2 * at["none", 0.25][0], at["none", 0.0][0] + at["none", 0.9][0])


def test_without_the_linear_decoder_it_is_the_vae() -> None:
    method, x = build(silent=0.0), examples()
    vae = VAE(VAE.Config(hidden=[5], latent_dim=4), SPEC).double()
    vae.load_state_dict(method.state_dict())
    for of in (method, vae):
        torch.manual_seed(3)
        of.found = of.loss({"x": x})["loss"].item()
    assert method.found == pytest.approx(vae.found, abs=1e-12)


def test_limits_of_the_spread() -> None:
    w, p = torch.randn(5, 3).double(), torch.rand(2, 3).double()
    columns = torch.stack([w, torch.zeros_like(w)], dim=2).flatten(1)  # (w, 0) for each group of two
    groups = OneHots(torch.stack([p.log(), (-p).log1p()], dim=2))
    torch.testing.assert_close(groups.spread(columns), Bits(p.logit()).spread(w))
    sure = Bits(torch.full((2, 3), 60.0).double())
    assert sure.spread(w).max() < 1e-20 and spread(Gaussian(p, torch.full_like(p, -80.0)), w).max() < 1e-20


def test_codes_of_the_uniform_prior() -> None:
    torch.manual_seed(0)
    bits, groups = Uniform(4).sample(4000, torch.zeros(1)), Uniform(6, 3).sample(4000, torch.zeros(1)).unflatten(1, (2, 3))
    assert (groups.sum(2) == 1).all() and groups.mean(0) == pytest.approx(1 / 3, abs=0.03) and bits.mean(0) == pytest.approx(0.5, abs=0.03)


def test_the_linear_decoder_starts_at_the_mean_and_options_are_checked() -> None:
    method = build()
    method.prepare(Data(SPEC, {"x": examples(50)}))
    torch.testing.assert_close(method.linear.bias, examples(50).mean(0))
    for options in (
        {"latents": "bernoulli", "estimator": "reparameterised"},
        {"estimator": "exact"},
        {"latents": "x"},
        {"draws": 1},
        {"latents": "categorical", "classes": 3},
    ):
        with pytest.raises(UserError):
            build(**options)
