"""What must hold exactly for codes on manifolds: projections, the walk, the divergence, and the limits of the method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.manifolds import FlatTorus, RingTorus, Sphere, manifold
from elboard.methods.vae.delta_vae import Brownian, DeltaVAE, Uniform
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "delta-vae": (
        "test_on_the_circle_the_divergence_is_that_of_the_wrapped_normal",
        "test_on_the_sphere_the_divergence_is_that_of_the_heat_kernel",
        "test_without_a_manifold_it_is_the_gaussian_vae",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SPACES = [Sphere(1), Sphere(2), Sphere(3), FlatTorus(2), RingTorus(2)]


def divergence(space, t: float) -> float:
    mean = space.project(torch.ones(1, space.ambient))
    return Uniform(space).divergence(Brownian(mean, torch.tensor([t]), space, 10), None).item()


@pytest.mark.parametrize("t", [0.001, 0.01, 0.03])
def test_on_the_circle_the_divergence_is_that_of_the_wrapped_normal(t: float) -> None:
    """By quadrature; and on the torus twice of it, as its circles are independent."""
    angle = np.linspace(-np.pi, np.pi, 200_001)
    density = sum(np.exp(-((angle + 2 * np.pi * turn) ** 2) / (2 * t)) for turn in (-1, 0, 1)) / math.sqrt(2 * np.pi * t)
    expected = np.trapezoid(density * np.log(np.maximum(density, 1e-300) * 2 * np.pi), angle)
    assert divergence(Sphere(1), t) == pytest.approx(expected, abs=1e-3)
    assert divergence(FlatTorus(2), t) == pytest.approx(2 * expected, abs=2e-3)


def test_on_the_sphere_the_divergence_is_that_of_the_heat_kernel() -> None:
    """Whose eigenfunctions are Legendre polynomials. The error of the expansion is of the second order in t."""
    angle = np.linspace(0, np.pi, 40_001)
    for t in (0.02, 0.05, 0.1):
        terms = ((2 * n + 1) / (4 * np.pi) * math.exp(-n * (n + 1) * t / 2) * eval_legendre(n, np.cos(angle)) for n in range(80))
        density = np.maximum(sum(terms), 1e-300)
        expected = np.trapezoid(density * np.log(density * 4 * np.pi) * 2 * np.pi * np.sin(angle), angle)
        assert divergence(Sphere(2), t) == pytest.approx(expected, abs=0.1 * t**2 + 1e-4), "with t S / 4, S = 2"


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{type(space).__name__}{space.dim}")
def test_a_projection_is_one_and_the_walk_stays_on_the_manifold(space) -> None:
    torch.manual_seed(0)
    h = torch.randn(200, space.ambient) * 2
    z = space.project(h)
    torch.testing.assert_close(space.project(z), z, atol=1e-5, rtol=0)
    near = z[:, None] + 1e-2 * torch.randn(200, 50, space.ambient)
    assert ((h - z).norm(dim=1)[:, None] <= (h[:, None] - space.project(near)).norm(dim=2) + 1e-4).all(), "the nearest point"
    end = Brownian(z, torch.full((200,), 0.006), space, 10).sample().z
    torch.testing.assert_close(space.project(end), end, atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{type(space).__name__}{space.dim}")
def test_the_walk_has_the_variance_t_in_each_direction_of_the_manifold(space) -> None:
    """So that its squared distance is d t on average, up to terms of the second order: the noise is ambient, its normal part projected."""
    torch.manual_seed(0)
    t, n = 0.002, 40_000
    mean = space.project(torch.ones(1, space.ambient)).expand(n, -1)
    squared = (Brownian(mean, torch.full((n,), t), space, 10).sample().z - mean).square().sum(1)
    assert squared.mean().item() == pytest.approx(space.dim * t, rel=0.03)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{type(space).__name__}{space.dim}")
def test_uniform_points_and_the_volume(space) -> None:
    """The share of uniform points within a small distance r of one is the volume of a flat ball of r in d dimensions over that of all."""
    torch.manual_seed(0)
    at = space.project(torch.tensor([1.0] * space.ambient))
    points = space.uniform(400_000, torch.zeros(1))
    torch.testing.assert_close(space.project(points), points, atol=1e-5, rtol=0)
    r = 0.25
    ball = math.pi ** (space.dim / 2) / math.gamma(space.dim / 2 + 1) * r**space.dim
    share = ((points - at).norm(dim=1) < r).float().mean().item()
    assert share == pytest.approx(ball / space.volume, rel=0.05)


def test_the_curvature_of_the_torus_in_space_sums_to_zero() -> None:
    """Gauss and Bonnet: its Euler characteristic is 0."""
    torch.manual_seed(0)
    curvature = RingTorus(2).curvature(RingTorus(2).uniform(200_000, torch.zeros(1)))
    assert abs(curvature.mean().item()) < 4 * curvature.std().item() / math.sqrt(200_000)
    assert curvature.max().item() == pytest.approx(2 / (0.6 * 3.6), rel=1e-3), "outside, of radii .6 and 3.6"


def test_without_a_manifold_it_is_the_gaussian_vae() -> None:
    options = {"hidden": [8], "latent_dim": 3, "activation": "relu"}
    x = torch.rand(6, 1, 4, 4)
    methods = []
    for cls, more in ((DeltaVAE, {"manifold": "euclidean"}), (VAE, {})):
        torch.manual_seed(0)
        methods.append(cls(cls.Config(**options, **more), SPEC))
    losses = []
    for method in methods:
        torch.manual_seed(1)
        losses.append(method.loss({"x": x})["loss"].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    q = methods[0].posterior(methods[0].encoder(x))
    assert (methods[0].elbo(x)["kl"] - kl_to_standard_normal(q.mean, q.logvar)).abs().max() < 1e-6


def test_times_stay_between_their_bounds_and_the_divergence_positive() -> None:
    method = DeltaVAE(DeltaVAE.Config(hidden=[8], manifold="sphere"), SPEC)
    with torch.no_grad():
        method.posterior.weight.mul_(1000)
    q = method.posterior(method.encoder(torch.rand(50, 1, 4, 4)))
    assert q.t.min() >= math.exp(-7.5) * 0.999 and q.t.max() <= math.exp(-5) * 1.001
    assert method.elbo(torch.rand(50, 1, 4, 4))["kl"].min() > 0
    assert torch.isfinite(method.space.project(torch.zeros(1, 3))).all()


def test_an_unknown_manifold_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no manifold 'tors'"):
        manifold("tors", 2)
