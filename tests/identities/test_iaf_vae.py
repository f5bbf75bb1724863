"""What must hold exactly for posteriors that flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.parts.flows import MaskedAutoregressive
from elboard.methods.vae.iaf_vae import IAFVAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "iaf-vae": (
        "test_without_steps_it_is_the_vae",
        "test_with_open_gates_it_is_the_vae",
        "test_the_density_is_the_change_of_variables",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
SMALL = {"hidden": [8], "latent_dim": 4}


def build(**options: object) -> IAFVAE:
    torch.manual_seed(0)
    method = IAFVAE(IAFVAE.Config(**{**SMALL, "flow_hidden": 9, "context_dim": 5, **options}), SPEC)
    with torch.no_grad():
        for parameter in method.posterior.steps.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape))
    return method


def plain(method: IAFVAE) -> VAE:
    """The VAE with the same weights."""
    vae = VAE(VAE.Config(**SMALL), SPEC)
    vae.encoder, vae.posterior, vae.decoder, vae.out = method.encoder, method.posterior.base, method.decoder, method.out
    return vae


def images(n: int = 7) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def test_without_steps_it_is_the_vae() -> None:
    method = build(steps=0)
    found = []
    for one in (method, plain(method)):
        torch.manual_seed(2)
        found.append([one.loss({"x": images()})["loss"].item(), *one.log_weights(images(), 3).flatten().tolist()])
    assert found[0] == found[1]


def test_with_open_gates_it_is_the_vae() -> None:
    """The same weights of the samples under the same noise: of gates that are open every step is the identity."""
    method = build()
    for step in method.posterior.steps:
        torch.nn.init.zeros_(step.out.weight)
        torch.nn.init.constant_(step.out.bias, 30.0)
    found = []
    for one in (method, plain(method)):
        torch.manual_seed(2)
        found.append(one.log_weights(images(), 3))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("k", [0, 3])
def test_the_density_is_the_change_of_variables(k: int) -> None:
    """log q(z) = log N(eps; 0, I) - log |det dz / d eps|, with the whole Jacobian by automatic differentiation."""
    method = build(steps=3).double()
    q = method.posterior(method.encoder(images().double()))
    draw = q.sample(k)
    log_q, noise = q.log_prob(draw), draw.noise if k else draw.noise[:, None]

    def z_of(eps: torch.Tensor, i: int) -> torch.Tensor:
        z = q.base.mean[i] + torch.exp(0.5 * q.base.logvar[i]) * eps
        for step in q.steps:
            z, _ = step(z[None], q.context[i : i + 1])
            z = z[0]
        return z

    for i, rows in enumerate(noise):
        for j, eps in enumerate(rows):
            torch.testing.assert_close(z_of(eps, i), draw.z[i, j] if k else draw.z[i])
            jacobian = torch.autograd.functional.jacobian(lambda e, i=i: z_of(e, i), eps)
            expected = Normal(0, 1).log_prob(eps).sum() - torch.linalg.slogdet(jacobian)[1]
            torch.testing.assert_close(log_q[i, j] if k else log_q[i], expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_dimensions_depend_on_those_before_and_on_the_context(reverse: bool) -> None:
    torch.manual_seed(0)
    network, z, context = MaskedAutoregressive(5, 12, 3, reverse), torch.randn(5), torch.randn(3)
    for part in (0, 1):
        by_z = torch.autograd.functional.jacobian(lambda v, part=part: network(v, context)[part], z)
        seen = (by_z.abs() > 0).float()
        assert torch.equal(seen, torch.ones(5, 5).triu(1) if reverse else torch.ones(5, 5).tril(-1)), "all of those, and no other"
        by_context = torch.autograd.functional.jacobian(lambda c, part=part: network(z, c)[part], context)
        assert (by_context.abs() > 0).all()


def test_masses_of_samples_are_what_the_density_says() -> None:
    """Of one dimension: its integral over each cell is the share of samples that fall there, and over all of them one."""
    torch.manual_seed(0)
    method = build(latent_dim=1, steps=2)
    x = images(1)
    with torch.no_grad():
        q = method.posterior(method.encoder(x))
        draw = q.sample(200_000)
        z, log_q = draw.z[0, :, 0], q.log_prob(draw)[0]
        edges = torch.quantile(z[:100_000], torch.linspace(0.02, 0.98, 41))
        order = z.argsort()
        z, density = z[order], log_q[order].exp()
        shares = ((z[:, None] >= edges[:-1]) & (z[:, None] < edges[1:])).float().mean(0)
        mass = torch.trapezoid(density, z)
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            inside = (z >= low) & (z < high)
            assert torch.trapezoid(density[inside], z[inside]).item() == pytest.approx(share.item(), rel=0.1)
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_the_gates_start_open() -> None:
    torch.manual_seed(0)
    method = IAFVAE(IAFVAE.Config(**SMALL, steps=3), SPEC)
    for step in method.posterior.steps:
        assert step.out.bias.tolist() == [0.0] * 4 + [2.0] * 4
    with torch.no_grad():
        q = method.posterior(method.encoder(images()))
        mean = q.sample(1000).log_det.mean().item()
    assert mean == pytest.approx(3 * 4 * math.log(1 / (1 + math.exp(-2))), abs=1.0)


def test_the_bound_is_the_sampled_one() -> None:
    method = build()
    terms = method.elbo(images())
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl"])
    torch.manual_seed(5)
    elbo = method.elbo(images())["elbo"]
    torch.manual_seed(5)
    torch.testing.assert_close(method.log_weights(images(), 1)[:, 0], elbo)
    with torch.no_grad():
        assert method.log_evidence(images(200), 50).mean() > method.elbo(images(200))["elbo"].mean()
