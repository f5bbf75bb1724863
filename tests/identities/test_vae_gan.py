"""What must hold exactly for an autoencoder that a discriminator measures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.vae_gan import VAEGAN

IDENTITIES = {
    "vae-gan": (
        "test_each_network_has_the_gradient_of_its_own_objective",
        "test_with_pixels_for_features_the_encoder_is_that_of_the_vae",
        "test_a_discriminator_that_knows_nothing",
    ),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
REAL = LikelihoodSpec((3,), 100, likelihood="gaussian")
SMALL = {"hidden": [8], "latent_dim": 3}


def build(spec: LikelihoodSpec = SPEC, **options: object) -> VAEGAN:
    torch.manual_seed(0)
    return VAEGAN(VAEGAN.Config(**{**SMALL, "discriminator": [7, 5], **options}), spec)


def images(n: int = 7) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_each_network_has_the_gradient_of_its_own_objective() -> None:
    """Three objectives, written as the paper writes them and differentiated each for its network alone, against one step of all."""
    method, x = build(gamma=0.3), images()
    torch.manual_seed(4)
    method.loss({"x": x})["loss"].backward()
    torch.manual_seed(4)
    mean, logvar = method.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn(7, 3)
    copy, sample = (method.decode(code).flatten(1) for code in (z, torch.randn(7, 3)))
    x = x.flatten(1)
    l_prior = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    l_llike = 0.5 * (method.critic.body(x) - method.critic.body(copy)).square().sum(1).mean()
    d_x, d_copy, d_sample = (method.critic(of).sigmoid() for of in (x, copy, sample))
    objectives = {
        ("encoder", "posterior"): l_prior + l_llike,
        ("decoder", "out"): 0.3 * l_llike - (d_copy.log() + d_sample.log()).mean(),
        ("critic",): -(d_x.log() + (1 - d_copy).log() + (1 - d_sample).log()).mean(),
    }
    for names, objective in objectives.items():
        own = [p for name in names for p in getattr(method, name).parameters()]
        expected = torch.autograd.grad(objective, own, retain_graph=True)
        assert sum(g.abs().sum() for g in expected) > 0
        for parameter, gradient in zip(own, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_with_pixels_for_features_the_encoder_is_that_of_the_vae() -> None:
    """Of real vectors with variance 1: the loss and the gradients, also of the decoder where gamma = 1 and no discriminator counts."""
    method, x = build(REAL, gamma=1.0), torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    plain = VAE(VAE.Config(**SMALL), REAL)
    plain.load_state_dict({name: value for name, value in method.state_dict().items() if not name.startswith("critic.")})
    method.critic.body, method.critic.out = nn.Identity(), nn.Linear(3, 1)
    nn.init.zeros_(method.critic.out.weight)
    found = []
    for one in (method, plain):
        torch.manual_seed(2)
        out = one.loss({"x": x})
        out["loss"].backward()
        found.append([p.grad for part in (one.encoder, one.posterior, one.decoder, one.out) for p in part.parameters()])
        if one is method:
            ours = (out["kl"] + out["unlikeness"]).item()
        else:
            assert ours == pytest.approx(out["loss"].item() - 1.5 * math.log(2 * math.pi), abs=1e-5)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_discriminator_that_knows_nothing() -> None:
    """Costs log 2 for the images and for each of the two kinds of fakes."""
    method = build()
    nn.init.zeros_(method.critic.out.weight)
    out = method.loss({"x": images()})
    assert out["discriminator"].item() == pytest.approx(3 * math.log(2), abs=1e-6)
    expected = out["kl"] + (1 + method.config.gamma) * out["unlikeness"] + 5 * math.log(2)
    assert out["loss"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_encoder_has_nothing_of_the_adversarial_term() -> None:
    found = []
    for scale in (1.0, 100.0):
        method = build()
        with torch.no_grad():
            method.critic.out.weight.mul_(scale)
        torch.manual_seed(3)
        method.loss({"x": images()})["loss"].backward()
        found.append([p.grad for p in (*method.encoder.parameters(), *method.posterior.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_every_weight_is_stepped_once_and_no_scale_of_a_likelihood() -> None:
    method = build(REAL)
    stepped = [p for group in method.parameter_groups() for p in group["params"]]
    assert len({id(p) for p in stepped}) == len(stepped)
    assert {id(p) for p in stepped} == {id(p) for p in method.parameters()} - {id(p) for p in method.likelihood.parameters()}
    method.loss({"x": torch.randn(5, 3)})["loss"].backward()
    assert all(p.grad is not None for p in stepped)
