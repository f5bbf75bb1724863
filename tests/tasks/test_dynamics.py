"""Noise of training: known errors have known orders, simulated descent has the law that masks give it, known bowls have known flatness."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from elboard.bench.metrics.dynamics import rooted, spearman
from elboard.tasks.dynamics.digits import Digits, flatness, hessian_of, principal
from elboard.tasks.dynamics.weak_order import UNITS, TwoLayers, WeakOrder, exactly, moments, slope


def test_known_errors_have_known_orders() -> None:
    rates, width = np.array([0.2, 0.1, 0.05]), 61
    settings = np.array([[model, eps] for model in (0, 1) for eps in rates])
    order = np.where(settings[:, 0] == 0, 1, 2)[:, None]
    difference = 3 * settings[:, 1:] ** order * np.random.default_rng(0).normal(size=width)
    seen = {"settings": settings, "difference": difference, "error": np.full((6, width), 1e-9), "variances": np.full((6, 2), (1, 2))}
    found = WeakOrder.measure(seen, None)
    for group in ("mean", "second", "loss"):
        assert found[f"weak_rate/linear-{group}"] == pytest.approx(1, abs=1e-6)
        assert found[f"weak_rate/tanh-{group}"] == pytest.approx(2, abs=1e-6)
        assert found[f"weak_signal/tanh-{group}"] > 1e4
    assert found["variance_share/tanh"] == 0.5
    d = difference[0, :30]
    assert found["weak_error/linear-mean"] == pytest.approx(np.linalg.norm(d) * (0.5 * 0.25) ** (1 / 3), rel=1e-6)


def test_lengths_are_estimated_without_bias() -> None:
    rng, true = np.random.default_rng(0), np.full(20, 0.1)
    found = [rooted((true + 0.1 * rng.normal(size=20)) ** 2, np.full(20, 0.1)) ** 2 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.2, rel=0.03)
    assert rooted(np.zeros(3), np.ones(3)) == pytest.approx(math.sqrt(3) / 1000)


def test_simulated_descent_has_the_mean_and_variance_of_its_masks() -> None:
    """After a step, E theta = start - eps grad L, and the variances are those of the gradient, here of 4,000 masks."""
    task = WeakOrder(WeakOrder.Config(runs=4000), "lite", 0)
    data = task.load_train()
    network, start = task._network(data), data.shared["start"].double()
    found = task._simulated(network, start, 0.1, 1)
    expected = (start - 0.1 * slope(network.expected, start)).flatten().numpy()
    assert np.abs(found["value"][:30] - expected).max() < 1e-12, "the variate is exact after one step"
    masks = (torch.rand(4000, UNITS, generator=torch.Generator().manual_seed(5)) < 0.8).double() / 0.8
    gradients = slope(network.risk, start.expand(4000, -1, -1), masks).flatten(1)
    assert found["variance"] == pytest.approx(0.01 * gradients.var(0).sum().item(), rel=0.05)


def test_variates_leave_expectations_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    network = TwoLayers(torch.linspace(-1, 1, 7).double(), torch.randn(7, generator=generator).double(), 0.8)
    centre, linear = torch.randn(4, 3, generator=generator).double(), 0.1 * torch.randn(50_000, 4, 3, generator=generator).double()
    theta = centre + linear + 0.3 * linear.square()
    with_variates, without = (moments(network, theta, each, centre) for each in (linear, torch.zeros_like(linear)))
    assert np.abs((with_variates["value"] - without["value"]) / without["error"]).max() < 5
    assert (with_variates["error"] < 0.7 * without["error"]).all() and with_variates["variance"] == pytest.approx(
        without["variance"], rel=0.01
    )
    assert without["variance"] == pytest.approx(theta.flatten(1).var(0).sum().item(), rel=1e-3)


def test_exact_moments_hold_the_expected_loss() -> None:
    """After no step it is the loss of the start; after some that of simulated descent whose inner weights rest."""
    task = WeakOrder(WeakOrder.Config(), "lite", 0)
    data = task.load_train()
    network, start = task._network(data), data.shared["start"].double()
    assert exactly(network, start, 0.1, 0)["value"][-1] == pytest.approx(network.risk(start).item(), rel=1e-12)
    found, theta, outer = exactly(network, start, 0.2, 5), start.expand(20_000, -1, -1), torch.tensor([1.0, 0, 0]).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        mask = (torch.rand(20_000, UNITS, generator=generator) < 0.8).double() / 0.8
        theta = theta - 0.2 * outer * slope(network.risk, theta, mask)
    loss = network.risk(theta)
    assert abs(found["value"][-1] - loss.mean().item()) < 5 * loss.std().item() / math.sqrt(20_000)
    assert found["variance"] == pytest.approx(theta.flatten(1).var(0).sum().item(), rel=0.05)


def test_each_step_of_descent_has_all_examples() -> None:
    """In their order: no noise but the method's."""
    task = Digits(Digits.Config(n_train=100, steps=3), "lite", 0)
    data = task.load_train()
    batches = list(task.batches(data, {}, 0))
    assert len(batches) == 3 and len(data.train["y"]) == 100
    assert all(torch.equal(batch[name], data.train[name]) for batch in batches for name in ("x", "y"))


def test_flatness_and_curvature_of_a_bowl() -> None:
    curvature = torch.tensor([4.0, 1.0, 0.01]).double()

    def risk(at: torch.Tensor) -> torch.Tensor:
        return 0.5 + (curvature * (at - 1).square()).sum() / 2

    at = torch.ones(3).double()
    torch.testing.assert_close(hessian_of(risk, at), torch.diag(curvature))
    torch.testing.assert_close(flatness(risk, at, torch.eye(3).double()), 2 * (1 / curvature).sqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(7, 20), (40, 20)])
def test_principal_directions_are_numpys(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, 20)
    _, scales, along = np.linalg.svd(x - x.mean(0), full_matrices=False)
    variances, found = principal(torch.from_numpy(x - x.mean(0)), 4)
    np.testing.assert_allclose(variances.numpy(), scales[:4] ** 2 / (len(x) - 1), rtol=1e-9)
    np.testing.assert_allclose(np.abs((found.numpy() * along[:4]).sum(1)), 1, rtol=1e-9)


def test_correlations_of_known_arrays() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30), rng.integers(5, size=30)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(a, np.ones(30)) == 0.0
    flat = np.array([1.0, 2.0, 4.0, 8.0])
    of = {"flatness": flat, "variance": flat**-1.5, "projected": flat[::-1]}
    seen = {f"{key}_{name}": value for key, value in of.items() for name in ("weights", "gradients")}
    noise, curvature = np.array([3.0, 1.0]), np.array([5.0, 1.0])
    traces = np.array([noise @ curvature, curvature.sum(), noise.sum()])
    found = Digits.measure(seen | {"risk": np.array(0.1), "curvature": flat[::-1], "traces": traces, "weights": np.array(2)}, None)
    assert found["flatness_correlation/weights"] == pytest.approx(-1) and found["curvature_correlation/gradients"] == pytest.approx(1)
    assert found["flatness_power/weights"] == pytest.approx(1.5) and found["alignment"] == pytest.approx(2 * 16 / (6 * 4))
