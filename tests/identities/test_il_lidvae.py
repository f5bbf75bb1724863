"""What must hold exactly for decoders with an inverse Lipschitz constraint, and an oracle of how it is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.task import Data
from elboard.methods.vae.il_lidvae import ILLIDVAE, ConvexGradient
from elboard.tasks.collapse.bits import Bits, bits, least_ratio, pinwheel

IDENTITIES = {
    "il-lidvae": (
        "test_the_map_is_the_gradient_of_its_potential",
        "test_no_two_codes_are_nearer_than_the_bound",
        "test_without_networks_the_decoder_is_linear",
    ),
}
SPEC = BetaSpec((1, 4, 4), 40, likelihood="bernoulli", betas=(0.5, 2.0))
X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def made(**options: Any) -> ILLIDVAE:
    torch.manual_seed(0)
    method = ILLIDVAE(ILLIDVAE.Config(hidden=[8], latent_dim=3, width=16, **options), SPEC)
    method.prepare(Data(SPEC, {"x": X}))
    return method


def rough(module: torch.nn.Module) -> None:
    """Large random parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_the_map_is_the_gradient_of_its_potential() -> None:
    torch.manual_seed(0)
    network = ConvexGradient(2, 5, 16, 0.7).double()
    rough(network)
    v = torch.randn(2, 30, 5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(network.potential(v).sum(), v)
    torch.testing.assert_close(network(v), expected)


def test_the_potential_is_strongly_convex() -> None:
    """Above its tangents by half of L times the squared distance, for positive weights of any size."""
    torch.manual_seed(0)
    network = ConvexGradient(2, 5, 16, 0.7).double()
    rough(network)
    v, w = torch.randn(2, 2, 500, 5, dtype=torch.float64) * 2
    tangent = network.potential(v) + (network(v) * (w - v)).sum(-1)
    assert (network.potential(w) - tangent >= 0.35 * (w - v).square().sum(-1) - 1e-8).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_no_two_codes_are_nearer_than_the_bound(strength: float) -> None:
    """Of 10,000 pairs, near and far, with random networks."""
    method = made(strength=strength).double()
    rough(method.decoder)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    try:
        ratio = least_ratio(method, 2, 3, "cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    assert method.bound == strength**2 and (ratio >= method.bound - 1e-9).all() and (ratio > 0).all()


def test_without_networks_the_decoder_is_linear() -> None:
    """L^2 B z and the constant: then the bound is reached by all pairs, as B has orthonormal columns."""
    method = made(strength=1.5)
    with torch.no_grad():
        for network in (method.decoder.inner, method.decoder.outer):
            network.first.zero_()
            network.skip.zero_()
    z = torch.randn(2, 7, 3)
    expected = 2.25 * z @ method.decoder.embedding.T + method.decoder.outer.constant
    torch.testing.assert_close(method.outputs(z), expected)
    torch.testing.assert_close(least_ratio(method, 2, 3, "cpu").float(), torch.full((2,), 2.25), rtol=1e-3, atol=0)


def test_the_embedding_has_principal_axes_as_its_columns() -> None:
    axes = made().decoder.embedding.double()
    torch.testing.assert_close(axes.T @ axes, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
    centred = (X.flatten(1) - X.flatten(1).mean(0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close((axes.T @ directions[:3].T).abs(), torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0)


def test_models_share_nothing() -> None:
    method = made()
    log_p, kl = method.terms(X)
    (kl - log_p)[1].sum().backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is None or parameter.grad[0].abs().sum() == 0, name


def test_a_negative_strength_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="strength=-1"):
        made(strength=-1.0)


def test_the_pinwheel_and_its_bits() -> None:
    """Unit variance in both directions; a bit's mean given the point is its logistic probability, so that bits and points correlate."""
    points = pinwheel(100_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cov(points.T), torch.eye(2), atol=0.03, rtol=0)
    seen = bits(100_000, 0)
    torch.testing.assert_close(points, pinwheel(100_000, torch.Generator().manual_seed(0)))
    expected = (points[:, 0].sigmoid() * points[:, 0]).mean()
    assert (seen[:, 0] * points[:, 0]).mean().item() == pytest.approx(expected.item(), abs=0.02), "the first direction is the first axis"


def test_a_guarantee_is_measured_where_there_is_one() -> None:
    task = Bits(Bits.Config(n_train=50, n_valid=20, n_test=40), "smoke", 0)
    data = task.load_train()
    method = ILLIDVAE(ILLIDVAE.Config(hidden=[8], latent_dim=2, width=8), data.spec)
    method.prepare(data)
    with torch.no_grad():
        found = task.score(task.observe(method.eval(), data, task.load_test(data), []).arrays)
    assert found["lipschitz_slack"] == pytest.approx(min(found[f"inverse_lipschitz/beta{beta:g}"] for beta in data.spec.betas) - 1)
    assert found["lipschitz_slack"] > -1e-3
