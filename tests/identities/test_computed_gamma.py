"""What must hold exactly of computed decoder variances and of a second stage."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.vae.computed_gamma import ComputedGammaVAE, GivenNoise
from elboard.methods.vae.two_stage import TwoStageVAE
from elboard.methods.vae.vae import VAE

IDENTITIES = {
    "computed-gamma-vae": ("test_learned_is_the_vae_and_fixed_has_variance_one", "test_gamma_follows_the_error_and_never_grows"),
    "two-stage-vae": ("test_a_second_stage_that_is_the_prior_changes_nothing", "test_the_bound_of_both_stages_is_below_their_evidence"),
}
SPEC = LikelihoodSpec((6,), 100, likelihood="gaussian")
SMALL = {"hidden": [5], "latent_dim": 2}


def build(**options: Any) -> ComputedGammaVAE:
    torch.manual_seed(0)
    return ComputedGammaVAE(ComputedGammaVAE.Config(**(SMALL | options)), SPEC)


def two_stages() -> TwoStageVAE:
    first = build()
    torch.manual_seed(1)
    return TwoStageVAE(TwoStageVAE.Config(**SMALL), SPEC, {"first": first})


def examples(n: int = 7) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def same_noise(function: Any, *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


def test_learned_is_the_vae_and_fixed_has_variance_one() -> None:
    method = build(gamma="learned")
    vae = VAE(VAE.Config(**SMALL), SPEC)
    vae.load_state_dict(method.state_dict())
    assert same_noise(method.loss, {"x": examples()})["loss"].item() == same_noise(vae.loss, {"x": examples()})["loss"].item()
    fixed = same_noise(build(gamma="fixed").loss, {"x": examples()})
    wanted = 3 * fixed["mse"] + 3 * math.log(2 * math.pi) + fixed["kl"]
    assert fixed["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_codes_of_samples_have_the_noise_of_the_second_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stage that ignores u draws z ~ N(b, gamma_z^2 I): the variance of 20,000 draws within 4 standard errors."""
    method, n = two_stages(), 20_000
    monkeypatch.setattr(method.base, "decode", lambda z: z)
    with torch.no_grad():
        method.out.weight.zero_()
        method.out.bias.copy_(torch.tensor([3.0, -1.0]))
        method.likelihood.log_std.fill_(math.log(0.2))
        z = method.sample(n)
    assert ((z.mean(0) - method.out.bias).abs() < 4 * 0.2 / n**0.5).all()
    assert ((z.var(0) - 0.04).abs() < 4 * 0.04 * (2 / n) ** 0.5).all()


def test_gamma_follows_the_error_and_never_grows() -> None:
    noise, m = GivenNoise(), 1.0
    for error in (5.0, 0.4, 0.1, 3.0, 0.02):
        noise.follow(torch.tensor(error), 0.99)
        m = min(m, 0.99 * m + 0.01 * error)
        assert noise.log_std.item() == pytest.approx(0.5 * math.log(m), abs=1e-6)
    for _ in range(2000):
        noise.follow(torch.tensor(0.02), 0.99)
    assert torch.exp(2 * noise.log_std).item() == pytest.approx(0.02, rel=1e-3)


def test_only_the_computed_one_moves_and_by_no_gradient() -> None:
    for gamma, moves in (("computed", True), ("fixed", False)):
        method = build(gamma=gamma)
        assert "likelihood.log_std" not in dict(method.named_parameters()) and "likelihood.log_std" in method.state_dict()
        out = method.training_step({"x": 0.1 * examples()}, 0)
        out.backward()
        assert method.likelihood.log_std == 0, "the loss of a batch is of the gamma before it"
        method.after_step({}, 0)
        assert (method.likelihood.log_std < 0) == moves
    assert "likelihood.log_std" in dict(build(gamma="learned").named_parameters())


def test_at_the_error_the_reconstruction_is_half_the_dimensions() -> None:
    """So that the balance with the KL stays while the error falls."""
    method = build()
    for scale in (1.0, 0.1):
        x = scale * examples()
        error = same_noise(method.loss, {"x": x})["mse"]
        method.likelihood.log_std.copy_(0.5 * error.detach().log())
        out = same_noise(method.loss, {"x": x})
        constant = 6 * (method.likelihood.log_std + 0.5 * math.log(2 * math.pi))
        assert (-out["elbo"] - out["kl"] - constant).item() == pytest.approx(3.0, rel=1e-4)


def test_the_factor_of_the_kl_is_in_the_loss_and_not_in_the_bound() -> None:
    plain, twice = (same_noise(build(kl_factor=k).loss, {"x": examples()}) for k in (1.0, 4.0))
    assert plain["elbo"].item() == twice["elbo"].item() == pytest.approx(-plain["loss"].item(), abs=1e-5)
    assert (twice["loss"] - plain["loss"]).item() == pytest.approx(3 * plain["kl"].item(), abs=1e-5)
    with pytest.raises(UserError, match="computed"):
        build(gamma="comuted")


# --- the second stage -----------------------------------------------------------------------------


@torch.no_grad()
def test_a_second_stage_that_is_the_prior_changes_nothing() -> None:
    """With p(z|u) = N(0, I) and q(u|z) = p(u) the weights are those of the first stage and its standard normal prior."""
    method, x = two_stages(), examples()
    for parameter in (*method.out.parameters(), *method.posterior.parameters()):
        parameter.zero_()
    found = same_noise(method.log_weights, x, 3)
    torch.testing.assert_close(found, same_noise(method.base.log_weights, x, 3), atol=1e-4, rtol=1e-5)
    assert method.decode(torch.zeros(2, 2)).shape == (2, 6) and method.sample(5).shape == (5, 6)
    assert method.noise_variance() == method.base.noise_variance()


@torch.no_grad()
def test_the_bound_of_both_stages_is_below_their_evidence() -> None:
    """The evidence by simple Monte Carlo over both layers of codes."""
    method, x = two_stages(), examples(3)
    u = torch.randn(100_000, 2)
    z = method.output(u) + torch.randn(100_000, 2) * method.likelihood.log_std.exp()
    wanted = torch.stack([method.base.likelihood.log_prob(one, method.base.output(z)) for one in x])
    wanted = wanted.logsumexp(1) - math.log(100_000)
    torch.testing.assert_close(method.log_evidence(x, 20_000), wanted, atol=0.1, rtol=0)
    terms = [method.elbo(x) for _ in range(2000)]
    bound = torch.stack([of["elbo"] for of in terms]).mean(0)
    torch.testing.assert_close(bound, method.log_weights(x, 4000).mean(1), atol=0.15, rtol=0)
    assert (bound < wanted + 0.03).all()
    torch.testing.assert_close(terms[0]["elbo"], -terms[0]["reconstruction"] - terms[0]["kl"])


def test_the_first_stage_is_not_trained() -> None:
    method = two_stages()
    method.loss({"x": examples()})["loss"].backward()
    assert all(parameter.grad is None for parameter in method.base.parameters())
    assert not any(name.startswith("base") for name in method.state_dict())
