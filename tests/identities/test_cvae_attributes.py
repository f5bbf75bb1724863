"""What must hold exactly of conditional variational autoencoders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.conditional import AttributeSpec
from elboard.methods.parts.posteriors import DiagonalGaussian, GaussianLayers
from elboard.methods.vae.cvae_attributes import CVAEAttributes
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "cvae-attributes": (
        "test_attributes_that_nothing_reads_leave_the_vae",
        "test_the_divergence_is_that_of_the_learned_prior",
        "test_beta_weighs_the_divergence_alone",
        "test_samples_come_from_the_prior_of_their_attributes",
    )
}
SPEC = AttributeSpec((1, 4, 4), 100, likelihood="bernoulli", attributes=(2, 3))


def build(**options: Any) -> CVAEAttributes:
    torch.manual_seed(0)
    return CVAEAttributes(CVAEAttributes.Config(**({"hidden": [8], "latent_dim": 3, "head": 6, "prior_hidden": [5]} | options)), SPEC)


def batch(n: int = 10) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(1)
    y = torch.stack([torch.randint(2, (n,), generator=noise), torch.randint(3, (n,), generator=noise)], 1)
    return {"x": (torch.rand(n, 1, 4, 4, generator=noise) < 0.5).float(), "y": y}


def loss(method: Any, of: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return method.loss(of)


def test_attributes_of_two_values_are_one_number_and_others_indicators() -> None:
    found = build().attributes(torch.tensor([[1, 0], [0, 2]]))
    assert found.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]


def test_attributes_that_nothing_reads_leave_the_vae() -> None:
    """With a standard prior, no weight of an attribute and the same other weights loss and gradients are those of the VAE."""
    torch.manual_seed(0)
    plain = VAE(VAE.Config(hidden=[8], latent_dim=3), SPEC)
    plain.posterior = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.LeakyReLU(0.2), DiagonalGaussian(6, 3))
    method, of = build(prior="standard"), batch()
    with torch.no_grad():
        for name, p in method.named_parameters():
            p.zero_()
            other = plain.get_parameter(name)
            p[tuple(slice(0, n) for n in other.shape)] = other
    expected, found = loss(plain, of), loss(method, of)
    for key in ("loss", "elbo", "kl"):
        assert found[key].item() == pytest.approx(expected[key].item(), rel=1e-6), key
    expected["loss"].backward()
    found["loss"].backward()
    torch.testing.assert_close(method.posterior[2].weight.grad, plain.posterior[2].weight.grad, rtol=1e-4, atol=1e-6)
    assert loss(build(), of)["loss"] != loss(build(), {**of, "y": of["y"].flip(0)})["loss"], "which are read otherwise"


def test_the_divergence_is_that_of_the_learned_prior() -> None:
    method, of = build(), batch()
    a = method.attributes(of["y"])
    q, p = method.posterior_of(of["x"], a), method.prior_of(a)
    wanted = kl_divergence(*(Independent(Normal(g.mean, (0.5 * g.logvar).exp()), 1) for g in (q, p)))
    out = method.elbo(of["x"], of["y"])
    torch.testing.assert_close(out["kl"], wanted)
    torch.testing.assert_close(out["elbo"], -out["reconstruction"] - out["kl"])
    assert (p.mean - p.mean[0]).abs().max() > 1e-3, "one prior for each combination"


def test_beta_weighs_the_divergence_alone() -> None:
    one, four = (loss(build(beta=beta), batch()) for beta in (1.0, 4.0))
    assert (four["loss"] - one["loss"]).item() == pytest.approx(3 * one["kl"].item(), rel=1e-5)
    assert one["loss"].item() == pytest.approx(-one["elbo"].item(), rel=1e-6) and four["elbo"].item() == one["elbo"].item()


def test_the_hybrid_decodes_the_prior() -> None:
    """All of it: no gradient in the recognition network, and the prior learns."""
    method = build(hybrid=1.0)
    loss(method, batch())["loss"].backward()
    assert not any(p.grad is not None and p.grad.abs().sum() > 0 for p in (*method.encoder.parameters(), *method.posterior.parameters()))
    assert method.of_attributes[-1].weight.grad.abs().sum() > 0
    half, none, full = (loss(build(hybrid=h), batch())["loss"].item() for h in (0.5, 0.0, 1.0))
    assert half == pytest.approx(0.5 * (none + full), rel=1e-4), "the same noise in either"


def test_samples_come_from_the_prior_of_their_attributes() -> None:
    method = build()
    y = torch.tensor([[0, 1], [1, 2]]).repeat_interleave(500, dim=0)
    torch.manual_seed(2)
    found = method.sample(y)
    a = method.attributes(y)
    torch.manual_seed(2)
    p = method.prior_of(a)
    torch.testing.assert_close(found, method.decode(p.mean + torch.exp(0.5 * p.logvar) * torch.randn_like(p.mean), a))
    assert found.shape == (1000, 1, 4, 4) and found.min() >= 0 and found.max() <= 1


def test_the_prior_does_not_shrink_to_a_point() -> None:
    layers = GaussianLayers(2, [3], 2, (-6.0, 6.0))
    with torch.no_grad():
        layers[-1].bias.fill_(-50.0)
    assert layers(torch.zeros(1, 2)).logvar.unique().item() == -6.0
    with pytest.raises(UserError, match="learned"):
        build(prior="learnt")


def test_the_network_of_budget_full_takes_a_step_and_draws() -> None:
    """In half the precision too."""
    spec = AttributeSpec((1, 32, 32), 10, likelihood="bernoulli", attributes=(2,) * 6, network="conv-32-64-128")
    method = CVAEAttributes(CVAEAttributes.Config(), spec)
    of = {"x": (torch.rand(3, 1, 32, 32) < 0.1).float(), "y": torch.randint(2, (3, 6))}
    with torch.autocast("cpu", torch.bfloat16):
        loss(method, of)["loss"].backward()
    torch.optim.Adam(method.parameters()).step()
    with torch.no_grad():
        assert method.sample(of["y"]).shape == of["x"].shape and method.elbo(**of)["elbo"].isfinite().all()
