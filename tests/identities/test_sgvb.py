"""What must hold exactly for the estimators of the bound's gradient and for wake-sleep."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.vae.base import GaussianVAE
from elboard.methods.vae.sgvb import SGVB
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.wake_sleep import WakeSleep

IDENTITIES = {
    "sgvb": ("test_estimator_b_is_the_vae", "test_estimators_have_the_same_mean", "test_the_naive_estimator_by_hand"),
    "wake-sleep": ("test_the_decoder_of_wake_sleep_learns_as_that_of_the_vae", "test_the_encoder_of_wake_sleep_learns_from_dreams_alone"),
}

SPEC = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")


def build(cls: type, **options: object) -> GaussianVAE:
    torch.manual_seed(0)
    return cls(cls.Config(**({"hidden": [8], "latent_dim": 3} | options)), SPEC)


def batch(n: int = 7, seed: int = 1) -> dict[str, torch.Tensor]:
    return {"x": (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) < 0.5).float()}


def descended(method: GaussianVAE, x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients of the loss by the name of the parameter, under noise that is always the same."""
    torch.manual_seed(5)
    names, parameters = zip(*method.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(method.loss(x)["loss"], parameters), strict=True))


def split(gradients: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Those of q(z|x) and those of p(x|z)."""
    of = {name: g for name, g in gradients.items() if name.startswith(("encoder", "posterior"))}
    return of, {name: g for name, g in gradients.items() if name not in of}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys() and a
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-4)


def test_estimator_b_is_the_vae() -> None:
    assert_same(descended(build(SGVB), batch()), descended(build(VAE), batch()))


def test_the_decoder_learns_the_same_by_all_estimators() -> None:
    expected = split(descended(build(SGVB), batch()))[1]
    for name in ("a", "reinforce"):
        assert_same(split(descended(build(SGVB, estimator=name), batch()))[1], expected)


def test_estimators_have_the_same_mean() -> None:
    """Over draws of the noise, against the standard errors of the means; B has the least variance and REINFORCE by far the most."""
    method = build(SGVB)
    torch.manual_seed(3)
    found = {name: method.gradients(batch()["x"], name, 400) for name in method.estimators}
    for name in ("a", "reinforce"):
        error = ((found["b"].var(0) + found[name].var(0)) / 400).sqrt()
        assert ((found["b"].mean(0) - found[name].mean(0)).abs() <= 5 * error + 1e-7).all(), name
    variance = {name: g.var(0).sum().item() for name, g in found.items()}
    assert variance["reinforce"] > 10 * variance["a"] > 10 * variance["b"] > 0


def test_the_naive_estimator_by_hand() -> None:
    """The bound of a sample times the gradient of its log-density, by PyTorch's distributions."""
    method, x = build(SGVB, estimator="reinforce"), batch()["x"]
    q = split(descended(method, {"x": x}))[0]
    mean, logvar = method.encode(x)
    of = Normal(mean, torch.exp(0.5 * logvar))
    torch.manual_seed(5)
    z = (mean + torch.randn(7, 1, 3)[:, 0] * of.stddev).detach()
    log_joint = method.likelihood.log_prob(x.flatten(1), method.output(z)) + Normal(0, 1).log_prob(z).sum(1)
    log_q = of.log_prob(z).sum(1)
    weighted = -((log_joint - log_q).detach() * log_q).mean()
    names = [name for name, _ in method.named_parameters() if name in q]
    expected = torch.autograd.grad(weighted, [dict(method.named_parameters())[name] for name in names])
    assert_same(q, dict(zip(names, expected, strict=True)))


def test_the_decoder_of_wake_sleep_learns_as_that_of_the_vae() -> None:
    assert_same(split(descended(build(WakeSleep), batch()))[1], split(descended(build(VAE), batch()))[1])


def test_the_encoder_of_wake_sleep_learns_from_dreams_alone() -> None:
    """The same of other data; and by hand, the log-density of the code that was dreamed from, given the dream."""
    method = build(WakeSleep)
    found = split(descended(method, batch()))[0]
    assert_same(found, split(descended(method, batch(seed=2)))[0])
    torch.manual_seed(5)
    torch.randn(7, 3)  # of the posterior of the data
    z = torch.randn(7, 3)
    dream = torch.bernoulli(method.decode(z).detach())
    mean, logvar = method.encode(dream)
    log_q = Normal(mean, torch.exp(0.5 * logvar)).log_prob(z).sum(1)
    expected = torch.autograd.grad(-log_q.mean(), [dict(method.named_parameters())[name] for name in found])
    assert_same(found, dict(zip(found, expected, strict=True)))


def test_an_unknown_estimator_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="estimator='reinforced': did you mean 'reinforce'"):
        build(SGVB, estimator="reinforced")
