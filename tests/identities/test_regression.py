"""Identities of regressors: densities of torch, the evidence of Bayesian linear regression, limits that are known methods."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import Normal, kl_divergence

from elboard.bench.kinds.regression import RegressionSpec
from elboard.methods.bayesian.bayes_by_backprop_regression import BayesByBackpropRegression
from elboard.methods.bayesian.mle_regression import MLERegression
from elboard.methods.bayesian.vbll_heads import RegressionHead
from elboard.methods.bayesian.vbll_regression import VBLLRegression
from elboard.methods.dropout.mc_dropout_regression import MCDropoutRegression
from elboard.methods.parts.regressor import RegressionMethod

IDENTITIES = {
    "mle-regression": ("test_the_loss_is_torchs_density", "test_the_best_noise_is_the_mean_squared_error"),
    "mc-dropout-regression": ("test_without_masks_it_is_the_plain_network", "test_the_mean_over_samples_is_the_mean_over_all_masks"),
    "bayes-by-backprop-regression": (
        "test_the_kl_is_torchs_and_the_noise_has_none",
        "test_without_spread_it_is_the_plain_network",
        "test_the_exact_posterior_of_one_weight_has_the_evidence",
    ),
    "vbll-regression": (
        "test_the_posterior_of_linear_regression_is_the_best_layer",
        "test_with_the_exact_posterior_it_predicts_what_linear_regression_does",
        "test_the_bound_is_the_expected_log_likelihood",
    ),
}
N, D, H = 40, 3, 5
SPEC = RegressionSpec((D,), N, target_mean=2.0, target_sd=3.0)


def build(of: type, **options: Any) -> RegressionMethod:
    torch.manual_seed(0)
    return of(of.Config(**options), SPEC).eval()


def batch(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    return {"x": torch.tensor(rng.normal(size=(N, D)), dtype=dtype), "y": torch.tensor(rng.normal(size=N), dtype=dtype)}


def test_the_loss_is_torchs_density() -> None:
    method, seen = build(MLERegression), batch()
    mean, sd = method.predictive(seen["x"], 7)
    assert mean.shape == sd.shape == (1, N)
    torch.testing.assert_close(method.loss(seen)["loss"], -Normal(mean[0], sd[0]).log_prob(seen["y"]).mean())
    torch.testing.assert_close(mean[0], method.head(method.backbone(seen["x"]))[:, 0])


def test_the_best_noise_is_the_mean_squared_error() -> None:
    method, seen = build(MLERegression), batch()
    with torch.no_grad():
        method.log_sd.copy_(0.5 * method.loss(seen)["mse"].log())
    (gradient,) = torch.autograd.grad(method.loss(seen)["loss"], method.log_sd)
    assert abs(gradient.item()) < 1e-6


def test_the_network_is_that_of_the_literature() -> None:
    sizes = {name: tuple(weight.shape) for name, weight in build(MLERegression).named_parameters()}
    assert sizes == {"log_sd": (), "backbone.1.weight": (50, D), "backbone.1.bias": (50,), "head.weight": (1, 50), "head.bias": (1,)}


# --- dropout ----------------------------------------------------------------------------------------------


def test_without_masks_it_is_the_plain_network() -> None:
    method, plain, seen = build(MCDropoutRegression, dropout=0.0), build(MLERegression), batch()
    (mean, sd), (plain_mean, plain_sd) = method.predictive(seen["x"], 3), plain.predictive(seen["x"])
    assert torch.equal(mean, plain_mean.expand(3, -1)) and torch.equal(sd, plain_sd.expand(3, -1))
    assert torch.equal(method.loss(seen)["loss"], plain.loss(seen)["loss"])


def test_the_mean_over_samples_is_the_mean_over_all_masks() -> None:
    method, seen = build(MCDropoutRegression, dropout=0.3, hidden=[4]), batch()
    with torch.no_grad():
        hidden, mean, square = nn.Sequential(*list(method.backbone)[:3])(seen["x"]), torch.zeros(N), torch.zeros(N)
        for mask in itertools.product((0.0, 1.0), repeat=4):
            kept = torch.tensor(mask)
            share, out = 0.7 ** kept.sum() * 0.3 ** (4 - kept.sum()), method.head(hidden * kept / 0.7)[:, 0]
            mean, square = mean + share * out, square + share * out**2
        drawn, sd = method.predictive(seen["x"], 20_000)
    assert not any(module.training for module in method.modules()) and sd.unique().tolist() == [method.log_sd.exp().item()]
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.var(0), square - mean**2, atol=0.01, rtol=0.1)


# --- Bayes by backprop ------------------------------------------------------------------------------------


def test_the_kl_is_torchs_and_the_noise_has_none() -> None:
    method, seen = build(BayesByBackpropRegression, prior_sd=0.7, gamma=2.0), batch()
    assert set(method.means) == {name for name, _ in build(MLERegression).named_parameters()} - {"log_sd"}
    prior = Normal(torch.zeros(()), torch.full((), 0.7))
    expected = sum(kl_divergence(Normal(mean, sd), prior).sum() for _, mean, sd in method._posterior())
    out = method.loss(seen)
    torch.testing.assert_close(out["kl"], expected)
    torch.testing.assert_close(out["loss"], out["error"] + expected / (2.0 * N))


def test_several_draws_of_weights_are_a_mean_of_losses() -> None:
    one, several, seen = build(BayesByBackpropRegression), build(BayesByBackpropRegression, samples=3), batch()
    several.load_state_dict(one.state_dict())
    torch.manual_seed(5)
    errors = [one.loss(seen)["error"] for _ in range(3)]
    torch.manual_seed(5)
    torch.testing.assert_close(several.loss(seen)["error"], sum(errors) / 3)


def test_without_spread_it_is_the_plain_network() -> None:
    method, plain, seen = build(BayesByBackpropRegression, rho=-40.0), build(MLERegression), batch()
    torch.testing.assert_close(method.predictive(seen["x"], 2)[0], plain.predictive(seen["x"])[0].expand(2, -1))
    torch.testing.assert_close(method.loss(seen)["error"], plain.loss(seen)["loss"])


def test_the_exact_posterior_of_one_weight_has_the_evidence() -> None:
    """y = w x + e: at the exact posterior N times the loss has the expectation -log p(y | x), whatever is drawn has no bias from it."""
    s, prior = 0.8, 0.7
    x, y = (np.random.default_rng(seed).normal(size=N) for seed in (2, 3))
    variance = 1 / (1 / prior**2 + (x @ x) / s**2)
    mean = variance * (x @ y) / s**2
    method = build(BayesByBackpropRegression, prior_sd=prior)
    method.backbone, method.head = nn.Identity(), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        method.head.weight.fill_(mean)
        method.log_sd.fill_(math.log(s))
    del method.rho
    method.begin_posterior(math.log(math.expm1(math.sqrt(variance))), points=("log_sd",))
    seen = {"x": torch.tensor(x[:, None]).float(), "y": torch.tensor(y).float()}
    with torch.no_grad():
        losses = N * torch.stack([method.loss(seen)["loss"] for _ in range(2000)]).double()
    evidence = multivariate_normal(np.zeros(N), s**2 * np.eye(N) + prior**2 * np.outer(x, x)).logpdf(y)
    assert losses.mean().item() == pytest.approx(-evidence, abs=5 * losses.std().item() / 2000**0.5)
    assert losses.std().item() / 2000**0.5 < 0.05


# --- variational last layer -------------------------------------------------------------------------------


def linear_regression() -> tuple[RegressionHead, torch.Tensor, torch.Tensor, np.ndarray, np.ndarray, float]:
    """A head whose q is the exact posterior of w for given features and noise, with those, its mean, covariance and noise variance."""
    torch.manual_seed(0)
    head = RegressionHead(H, "dense", 0.01).double()
    features, y = torch.randn(N, H).double(), torch.randn(N).double()
    with torch.no_grad():
        head.log_noise.fill_(-0.4)
    noise = math.exp(-0.8)
    covariance = np.linalg.inv(np.eye(H) / head.prior + features.numpy().T @ features.numpy() / noise)
    mean = covariance @ features.numpy().T @ y.numpy() / noise
    factor = torch.tensor(np.linalg.cholesky(covariance))
    with torch.no_grad():
        head.mean.copy_(torch.tensor(mean)[None])
        head.log_diagonal.copy_(factor.diagonal().log()[None])
        head.lower.copy_(factor.tril(-1)[None])
    return head, features, y, mean, covariance, noise


def test_the_posterior_of_linear_regression_is_the_best_layer() -> None:
    """At it the bound is the log evidence, and no parameter of q has a gradient."""
    head, features, y, _, _, noise = linear_regression()
    bound = head.bound(features, y).sum() - head.kl()
    law = multivariate_normal(np.zeros(N), noise * np.eye(N) + head.prior * features.numpy() @ features.numpy().T)
    assert bound.item() == pytest.approx(law.logpdf(y.numpy()), abs=1e-9)
    for gradient in torch.autograd.grad(bound, (head.mean, head.log_diagonal, head.lower)):
        assert gradient.tril().abs().max() < 1e-8


def test_with_the_exact_posterior_it_predicts_what_linear_regression_does() -> None:
    head, _, _, mean, covariance, noise = linear_regression()
    new = torch.randn(6, H).double()
    found, sd = head.predictive(new)
    np.testing.assert_allclose(found.detach(), new.numpy() @ mean, atol=1e-10)
    variance = np.einsum("bh,hj,bj->b", new.numpy(), covariance, new.numpy()) + noise
    np.testing.assert_allclose(sd.detach() ** 2, variance, atol=1e-10)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_the_bound_is_the_expected_log_likelihood(covariance: str) -> None:
    torch.manual_seed(0)
    head, features, y = RegressionHead(H, covariance, 0.01).double(), torch.randn(N, H).double(), torch.randn(N).double()
    factor = head.factor()[0] if covariance == "dense" else torch.diag(head.factor()[0])
    with torch.no_grad():
        w = head.mean + torch.randn(40_000, H).double() @ factor.T
        log_p = Normal(features @ w.T, head.noise().sqrt()).log_prob(y[:, None])
        assert (head.bound(features, y) - log_p.mean(1)).abs().max() < 5 * log_p.std(1).max() / 200


def test_a_layer_without_spread_is_the_plain_network() -> None:
    method, seen = build(VBLLRegression), batch()
    with torch.no_grad():
        method.head.log_diagonal.fill_(-30)
    mean, sd = method.predictive(seen["x"])
    assert mean.shape == sd.shape == (1, N)
    torch.testing.assert_close(sd, method.head.noise().sqrt().expand(1, N))
    torch.testing.assert_close(method.loss(seen)["bound"], Normal(mean[0], sd[0]).log_prob(seen["y"]).mean())


def test_the_penalty_is_divided_by_the_size_of_the_training_set() -> None:
    method, seen = build(VBLLRegression), batch()
    penalty = method.head.kl() - method.head.log_prior_of_noise()
    for part in (seen, {name: tensor[:10] for name, tensor in seen.items()}):
        out = method.loss(part)
        torch.testing.assert_close(out["loss"] + out["bound"], penalty / N, rtol=1e-4, atol=0)


def test_the_layer_has_no_weight_decay_and_gradients_reach_every_parameter() -> None:
    method = build(VBLLRegression, weight_decay=0.3)
    groups = method.make_optimizer(method.parameter_groups()).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(method.parameters()))
    method.loss(batch())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert decay[id(parameter)] == (0.0 if name.startswith("head.") else 0.3)
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_variance_of_the_predictive_grows_along_a_ray() -> None:
    """Rectified features are linear from somewhere on: the variance grows with the square of the distance."""
    method = build(VBLLRegression)
    far = torch.randn(1, D) * 1e3
    _, sd = method.predictive(torch.cat([far, 2 * far]))
    noise = method.head.noise()
    near, twice = sd[0] ** 2 - noise
    assert (twice / near).item() == pytest.approx(4, rel=0.05)
