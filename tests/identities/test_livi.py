"""Identities of implicit laws: entropies against Gaussians, the least singular value against a decomposition, objectives by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.posterior import TargetSpec
from elboard.bench.kinds.regression import RegressionSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.livi import LIVI
from elboard.methods.bayesian.livi_density import LIVIDensity
from elboard.methods.bayesian.livi_regression import LIVIRegression
from elboard.methods.bayesian.mean_field_density import MeanFieldDensity
from elboard.methods.parts.implicit import DenseGenerator, MatrixGenerator, direction, entropy, jacobian, smallest
from elboard.tasks.posterior.gaussian import PRECISION, Gaussian

IDENTITIES = {
    "livi": (
        "test_the_entropy_of_a_linear_generator_is_the_gaussians",
        "test_the_bound_by_the_least_singular_value",
        "test_the_losses_by_hand",
    ),
    "livi-regression": ("test_the_entropy_of_a_linear_generator_is_the_gaussians", "test_the_losses_by_hand"),
    "livi-density": ("test_the_entropy_of_a_linear_generator_is_the_gaussians", "test_a_density_at_its_optimum"),
    "mean-field-density": ("test_a_density_at_its_optimum",),
}
IMAGES = ClassSpec((1, 2, 2), 60, n_classes=3)
NUMBERS = RegressionSpec((2,), 60, target_mean=0.0, target_sd=1.0)
SD = 0.1


class Linear(nn.Module):
    """g(z) = W z."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return F.linear(z, self.weight)


def linear(size: int, latent: int) -> tuple[Linear, torch.Tensor]:
    torch.manual_seed(0)
    return Linear(torch.randn(size, latent, dtype=torch.float64)), torch.randn(3, latent, dtype=torch.float64)


def generators() -> list[nn.Module]:
    torch.manual_seed(0)
    return [DenseGenerator(4, [7, 6], 9, 0.5).double(), MatrixGenerator(2, [5], 9, 0.5).double()]


@pytest.mark.parametrize(("size", "latent"), [(7, 3), (4, 4)])
def test_the_entropy_of_a_linear_generator_is_the_gaussians(size: int, latent: int) -> None:
    g, z = linear(size, latent)
    covariance = (g.weight @ g.weight.T + SD**2 * torch.eye(size)).detach()
    expected = MultivariateNormal(torch.zeros(size).double(), covariance).entropy()
    torch.testing.assert_close(entropy(g, z, SD, size, "jacobian"), expected.expand(3))


@pytest.mark.parametrize("i", [0, 1])
def test_the_jacobian_is_that_of_automatic_differentiation(i: int) -> None:
    g, z = generators()[i], torch.randn(3, 4, dtype=torch.float64)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda one: g(one[None])[0], of) for of in z])
    torch.testing.assert_close(jacobian(g, z), expected)
    assert g(z).shape == (3, 9)


@pytest.mark.parametrize("i", [0, 1])
def test_the_least_singular_value_is_found_from_above(i: int) -> None:
    g, z = generators()[i], torch.randn(3, 4, dtype=torch.float64)
    exact = torch.linalg.svdvals(jacobian(g, z))[:, -1]
    few = smallest(g, z, 1)
    assert (few >= exact - 1e-12).all()
    torch.testing.assert_close(smallest(g, z, 60), exact, rtol=1e-6, atol=1e-9)
    assert (few > 1.001 * exact).any(), "one step must not be enough for the test to see the steps"


def test_in_two_dimensions_one_step_is_exact() -> None:
    torch.manual_seed(0)
    g, z = DenseGenerator(2, [7], 2, 1.0).double(), torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(smallest(g, z, 1), torch.linalg.svdvals(jacobian(g, z))[:, -1], rtol=1e-7, atol=1e-9)


def test_steps_that_fail_give_another_direction() -> None:
    """At singular values of zero, and where products are not finite."""
    zero = Linear(torch.zeros(5, 3, dtype=torch.float64))
    assert torch.equal(smallest(zero, torch.randn(2, 3, dtype=torch.float64), 4), torch.zeros(2).double())
    h = entropy(zero, torch.randn(2, 3, dtype=torch.float64), SD, 5, "smallest")
    h.sum().backward()
    assert torch.isfinite(h).all() and torch.isfinite(zero.weight.grad).all(), "sigma^2 is the floor"
    g, z = linear(5, 3)
    with torch.no_grad():
        g.weight[0, 0] = math.inf
    torch.testing.assert_close(direction(g, z, 3).norm(dim=1), torch.ones(3).double())


def test_the_gradient_of_the_least_singular_value_is_that_of_the_decomposition() -> None:
    g, z = generators()[0], torch.randn(1, 4, dtype=torch.float64)
    torch.linalg.svdvals(jacobian(g, z))[:, -1].sum().backward()
    expected = [p.grad.clone() for p in g.parameters() if p.grad is not None]
    g.zero_grad()
    smallest(g, z, 80).sum().backward()
    for one, other in zip([p.grad for p in g.parameters() if p.grad is not None], expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_the_bound_by_the_least_singular_value() -> None:
    """It lies below, and meets where all singular values are equal."""
    g, z = linear(7, 3)
    assert (entropy(g, z, SD, 7, "smallest", 50) < entropy(g, z, SD, 7, "jacobian") - 0.1).all()
    with torch.no_grad():
        g.weight.copy_(0.3 * torch.linalg.qr(g.weight)[0])
    torch.testing.assert_close(entropy(g, z, SD, 7, "smallest", 1), entropy(g, z, SD, 7, "jacobian"))


def build(of: Any, spec: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return of(of.Config(**({"samples": 3, "latent": 2, "widths": [4]} | options)), spec).double()


def batch_of(of: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if of is LIVI:
        return {"x": torch.rand(6, 1, 2, 2, generator=generator, dtype=torch.float64), "y": torch.arange(6) % 3}
    return {"x": torch.randn(6, 2, generator=generator).double(), "y": torch.randn(6, generator=generator).double()}


@pytest.mark.parametrize("kind", ["jacobian", "smallest"])
@pytest.mark.parametrize("weighting", ["elbo", "released"])
@pytest.mark.parametrize(("of", "spec"), [(LIVI, IMAGES), (LIVIRegression, NUMBERS)])
def test_the_losses_by_hand(of: Any, spec: Any, weighting: str, kind: str) -> None:
    made, batch = build(of, spec, weighting=weighting, entropy=kind, prior_sd=0.7), batch_of(of)
    torch.manual_seed(2)
    out = made.loss(batch)
    torch.manual_seed(2)
    weights, codes = made.draw(3)
    errors = []
    for s in range(3):
        prediction = torch.func.functional_call(made, {name: w[s] for name, w in weights.items()}, (batch["x"],))
        sd = made.log_sd.exp() if of is LIVIRegression else None
        errors.append(F.cross_entropy(prediction, batch["y"]) if sd is None else -Normal(prediction, sd).log_prob(batch["y"]).mean())
    log_prior = torch.stack([-0.5 * sum((w[s] / 0.7).square().sum() for w in weights.values()) for s in range(3)]).mean()
    h, error = made.entropy(codes), sum(errors) / 3
    torch.testing.assert_close(out["error"], error)
    torch.testing.assert_close(out["log_prior"], log_prior)
    expected = error - (log_prior + h) / 60 if weighting == "elbo" else error - (8.5e-4 * log_prior + h) / 6
    torch.testing.assert_close(out["loss"], expected)
    out["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.generators.parameters())


@pytest.mark.parametrize("sharing", ["all", "layers"])
def test_one_generator_correlates_layers_and_several_do_not(sharing: str) -> None:
    made = build(LIVI, IMAGES, sharing=sharing, start_sd=1.0, latent=1, generator="dense", widths=[3])
    weights, codes = made.draw(4000)
    assert len(codes) == (1 if sharing == "all" else 3) and {*weights} == {
        name for name, _ in made.named_parameters() if "generators" not in name
    }
    first, last = (weights[name].flatten(1)[:, :8] for name in (made.groups[0][0][0], made.groups[-1][-2][0]))
    correlation = np.abs(np.corrcoef(first.T.detach().numpy(), last.T.detach().numpy())[:8, 8:])
    assert correlation.mean() > 0.3 if sharing == "all" else correlation.max() < 0.1


def test_weights_begin_where_the_networks_do_and_estimates_have_no_law() -> None:
    made = build(LIVIRegression, NUMBERS, start_sd=1e-9, noise_sd=1e-9)
    weights, _ = made.draw(2)
    assert "log_sd" not in weights
    mean, sd = made.predictive(batch_of(LIVIRegression)["x"], 2)
    torch.testing.assert_close(mean[0], made(batch_of(LIVIRegression)["x"]), atol=1e-6, rtol=1e-6)
    assert mean.shape == sd.shape == (2, 6)


def test_a_density_at_its_optimum() -> None:
    """Of a Gaussian density: a linear generator with the right covariance, and the product law with the variances 1 / Lambda_jj."""
    free = LIVIDensity(LIVIDensity.Config(widths=[], noise_sd=1e-4), TargetSpec((2,), 1)).double()
    product = MeanFieldDensity(MeanFieldDensity.Config(), TargetSpec((2,), 1)).double()
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(3)).double()
    noise = (noise - noise.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(noise.T)).T)  # moments exact
    with torch.no_grad():
        free.generator.weight[-1].copy_(torch.linalg.cholesky(torch.linalg.inv(torch.from_numpy(PRECISION))))
        product.log_sd.copy_(-0.5 * torch.from_numpy(PRECISION.diagonal().copy()).log())
    for made in (free, product):
        made.prepare(Data(made.spec, oracle=Gaussian))
        made._noise = lambda n: noise
        made.loss({})["loss"].backward()
        for parameter in made.parameters():
            assert parameter.grad.abs().max() < 2e-3
    constant = -math.log(2 * math.pi) + 0.5 * math.log(np.linalg.det(PRECISION))  # of the density, at which KL(q || p) = 0
    assert free.loss({})["loss"].item() == pytest.approx(constant, abs=1e-3)
    assert product.loss({})["loss"].item() > constant + 0.5
