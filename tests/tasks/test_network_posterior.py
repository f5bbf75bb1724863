"""The posterior of a small network: its density against torch, its sampler on a known law, its reference, its scores against SciPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm, wasserstein_distance
from torch.distributions import Normal

from elboard.methods.bayesian.bayes_by_backprop_regression import BayesByBackpropRegression
from elboard.methods.bayesian.livi_regression import LIVIRegression
from elboard.methods.bayesian.mle_regression import MLERegression
from elboard.tasks.posterior.bnn import BNN, LEVELS, N_TEST, NOISE, NetworkPosterior, drawn, function, inputs, reference, slice_of, truth
from elboard.tasks.posterior.hmc import sample, split_r_hat


def network(theta: torch.Tensor) -> torch.nn.Module:
    made = torch.nn.Sequential(torch.nn.Linear(1, 50), torch.nn.ReLU(), torch.nn.Linear(50, 1)).double()
    torch.nn.utils.vector_to_parameters(theta, made.parameters())
    return made


def test_the_density_and_its_gradient_are_torchs() -> None:
    posterior, theta = NetworkPosterior(), torch.randn(3, 151, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_p, gradient = posterior(theta.numpy())
    x, y = torch.from_numpy(posterior.x)[:, None], torch.from_numpy(posterior.y)
    found = []
    for one, own in zip(theta, gradient, strict=True):
        made = network(one)
        values = Normal(made(x)[:, 0], posterior.noise).log_prob(y).sum() + sum(Normal(0, 1).log_prob(p).sum() for p in made.parameters())
        values.backward()
        np.testing.assert_allclose(own, torch.cat([p.grad.flatten() for p in made.parameters()]), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(function(one[None].numpy(), posterior.x)[0], made(x)[:, 0].detach(), rtol=1e-9)
        found.append(values.item())
    np.testing.assert_allclose(np.diff(log_p), np.diff(found), rtol=1e-9)


def test_the_sampler_finds_a_gaussian() -> None:
    covariance = np.array([[1.0, 0.8], [0.8, 4.0]])
    precision = np.linalg.inv(covariance)

    def density(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return -0.5 * np.einsum("ci,ij,cj->c", z, precision, z), -z @ precision

    draws, rate = sample(density, np.zeros((40, 2)), 800, (5, 15), seed=0)
    flat = draws.reshape(-1, 2)
    assert rate > 0.6 and np.abs(split_r_hat(draws) - 1).max() < 0.02
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(flat.T), covariance, atol=0.25)


def test_chains_apart_have_a_large_r_hat() -> None:
    draws = np.random.default_rng(0).normal(size=(200, 4, 1))
    assert split_r_hat(draws)[0] == pytest.approx(1, abs=0.02)
    assert split_r_hat(draws + np.arange(4)[:, None])[0] > 1.5


def test_the_reference_is_of_chains_that_mixed_and_knows_the_gap() -> None:
    held, x = reference(), inputs()
    assert held["quantiles"].shape == (100, N_TEST) and (np.diff(held["quantiles"], axis=0) >= 0).all()
    assert held["r_hat"] < 1.05 and 0.6 < held["accepted"] < 0.95
    np.testing.assert_allclose(held["quantiles"].mean(0), held["mean"], atol=0.05)
    inside, between = (held["sd"][slice_of(x) == i].mean() for i in (0, 1))
    assert between > 1.5 * inside
    mean, sd = NetworkPosterior().of_y
    error = mean + sd * held["mean"] - truth(x)
    assert np.sqrt((error[slice_of(x) == 0] ** 2).mean()) < NOISE


def test_scores_of_the_reference_itself_and_of_a_gaussian() -> None:
    held, task = reference(), BNN(BNN.Config(n_samples=100), "lite", 0)
    data = task.load_train()
    test = task.load_test(data)
    n, noise = 100, NOISE / data.spec.target_sd

    def found(f: np.ndarray) -> dict[str, float]:
        own = torch.from_numpy(f)
        method = SimpleNamespace(predictive=lambda x, n_samples: (own, torch.full_like(own, noise)))
        return BNN.measure(task.observe(method, data, test, []).arrays, None)

    own = found(held["quantiles"].astype(np.float64))
    assert own["marginal_w1"] < 0.02 * held["sd"].mean() and own["spread_ratio/between"] == pytest.approx(1, abs=0.03)
    f = held["mean"] + 2 * held["sd"] * norm.ppf(LEVELS)[:, None]
    other = found(f.astype(np.float64))
    expected = [wasserstein_distance(f[:, i], held["quantiles"][:, i]) for i in range(N_TEST)]
    assert other["marginal_w1"] == pytest.approx(np.mean(expected), rel=0.05) and len(f) == n
    assert other["spread_ratio"] == pytest.approx(2, abs=0.1) and other["spread_error"] == pytest.approx(1, abs=0.1)


def test_scores_at_some_inputs_are_against_the_reference_there() -> None:
    """Of few inputs, as checks of methods show, the reference's own quantiles are still right."""
    task = BNN(BNN.Config(n_samples=100), "lite", 0)
    data = task.load_train()
    test = {name: values[1::4] for name, values in task.load_test(data).items()}
    f = torch.from_numpy(reference()["quantiles"][:, 1::4].astype(np.float64))
    method = SimpleNamespace(predictive=lambda x, n_samples: (f, torch.full_like(f, 0.3)))
    found = BNN.measure(task.observe(method, data, test, []).arrays, None)
    assert found["marginal_w1"] < 0.02 * reference()["sd"].mean() and found["spread_ratio/between"] == pytest.approx(1, abs=0.03)


def test_methods_have_the_likelihood_of_the_reference() -> None:
    spec = BNN(BNN.Config(), "lite", 0).load_train().spec
    for of in (LIVIRegression, BayesByBackpropRegression, MLERegression):
        made = of(of.Config(), spec)
        assert made.log_sd.exp().item() == pytest.approx(NetworkPosterior().noise, rel=1e-6)
        assert not any(p is made.log_sd for group in made.parameter_groups() for p in group["params"])


def test_data_are_the_same_for_all_seeds_and_have_a_gap() -> None:
    first, second = (BNN(BNN.Config(), "lite", seed).load_train() for seed in (0, 1))
    assert torch.equal(first.train["x"], second.train["x"]) and not torch.equal(first.train["x"][:40], first.valid["x"])
    x, y = drawn(80, 0)
    assert (slice_of(x) == 0).all() and np.std(y - truth(x)) == pytest.approx(NOISE, rel=0.2)
