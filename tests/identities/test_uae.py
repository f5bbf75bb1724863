"""What must hold exactly of sigma points, their penalties and mixtures of codes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.vae.uae import TINY, UAE, norm, wasserstein

IDENTITIES = {
    "uae": (
        "test_sigma_points_have_the_moments_of_the_posterior",
        "test_pairs_through_a_linear_decoder_are_the_mean",
        "test_random_points_and_the_kl_are_the_vae",
    )
}
SPEC = LikelihoodSpec((6,), 100, likelihood="gaussian")


def build(**options: Any) -> UAE:
    torch.manual_seed(0)
    return UAE(UAE.Config(**({"hidden": [5], "latent_dim": 3, "components": 2} | options)), SPEC)


def examples(n: int = 9) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def same_noise(function: Any, *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


def test_sigma_points_have_the_moments_of_the_posterior() -> None:
    """Each of the 2n + 1 as often as the others; of mean and axes with weights lambda / (n + lambda) and 1 / 2 (n + lambda) the covariance
    is that of q."""
    method, n = build(k=1), 3
    q = Gaussian(torch.tensor([[0.5, -1.0, 2.0]]).expand(70_000, -1), torch.tensor([[0.0, -1.0, 0.7]]).expand(70_000, -1))
    found, counts = same_noise(method.points, q)[:, 0].unique(dim=0, return_counts=True)
    assert len(found) == 2 * n + 1 and counts / 70_000 == pytest.approx(1 / 7, abs=0.01)
    centred = found - q.mean[0]
    covariance = centred.T @ centred / (2 * (n + 1e-3))
    torch.testing.assert_close(covariance, torch.diag(q.logvar[0].exp()), atol=1e-5, rtol=1e-4)
    assert (centred.square().sum(1) > 1e-9).sum() == 2 * n and ((centred != 0).sum(1) <= 1).all()


def test_pairs_through_a_linear_decoder_are_the_mean() -> None:
    """So that their mean has no noise, where single points have."""
    method = build(points="pairs", k=4, hidden=[])
    q = method.posterior(method.encoder(examples()))
    torch.testing.assert_close(method.output(method.points(q)).mean(1), method.output(q.mean))
    arms = (("pairs", 2), ("pairs", 4), ("sigma", 1))
    losses = [build(points=points, k=k, hidden=[]).loss({"x": examples()})["mse"] for points, k in arms]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6) and abs(losses[2] - losses[0]) > 1e-3


def test_random_points_and_the_kl_are_the_vae() -> None:
    """With a decoder of variance v the loss is minus the ELBO times 2 v / D, but for its constant, where c = 2 v / D."""
    method, v = build(points="random", regulariser="kl", decoder=0.0, weight=2 * 0.3 / 6), 0.3
    with torch.no_grad():
        method.likelihood.log_std.fill_(0.5 * math.log(v))
    out = same_noise(method.loss, {"x": examples()})
    wanted = -2 * v / 6 * out["elbo"] - v * math.log(2 * math.pi * v)
    assert out["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_penalty_of_the_posterior() -> None:
    q = Gaussian(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), 2 * torch.log(torch.tensor([[1.0, 3.0], [1.0, 1.0]])))
    assert wasserstein(q).item() == pytest.approx((5 + 2 + 2 * math.sqrt(TINY)) / 2, abs=1e-4)
    zero = torch.zeros(1, 2, requires_grad=True)
    norm(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_the_penalty_of_the_decoder_is_the_norm_of_a_linear_one() -> None:
    method = build(hidden=[])
    q = Gaussian(torch.randn(4, 3), torch.tensor([[0.1, 0.5, -1.0], [0.0, 9.0, 0.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]]))
    largest = torch.tensor([math.exp(0.5), 100.0, 1.0, math.exp(-1)])
    wanted = largest.mean() * norm(method.out.weight.sum(0))
    with torch.no_grad():
        assert method.decoder_penalty(q).item() == pytest.approx(wanted.item(), rel=1e-5)
    with_it, without = (same_noise(build(decoder=w).loss, {"x": examples()})["loss"] for w in (1.0, 0.0))
    assert with_it > without


def test_the_penalty_has_gradients_in_all_that_it_depends_on() -> None:
    method = build(activation="tanh")
    method.decoder_penalty(method.posterior(method.encoder(examples()))).backward()
    assert all(part.weight.grad.abs().sum() > 0 for part in (method.posterior, method.out, method.decoder[1], method.encoder[1]))


def test_codes_follow_the_mixture_once_it_is_fitted() -> None:
    method = build()

    class Untrained:
        def run(self, of: Any) -> None:
            assert not of.prior.fitted

    x = torch.cat([examples(200) - 3, examples(200) + 3])
    method.fit(Data(SPEC, {"x": x}), Untrained())
    with torch.no_grad():
        codes = method.encode(x)[0]
        assert method.prior.fitted and torch.cov(method.prior.sample(20_000, codes).T).sub(torch.cov(codes.T)).abs().max() < 0.1
        assert method.prior.log_prob(codes).mean() > method.prior.normal.log_prob(codes).mean() + 0.5
        weights = same_noise(method.log_weights, x, 1)[:, 0]
        torch.testing.assert_close(same_noise(method.elbo, x)["elbo"], weights, rtol=1e-4, atol=1e-2)
    again = build()
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.prior.log_prob(codes), method.prior.log_prob(codes))


def test_options_are_checked() -> None:
    for options in ({"points": "sigmas"}, {"regulariser": "w2"}, {"points": "pairs", "k": 3}):
        with pytest.raises(UserError):
            build(**options)
