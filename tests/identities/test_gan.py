"""What must hold exactly for generators that are trained against a critic."""

from __future__ import annotations

import pytest
import torch

from elboard.bench.cost import flops_per_example
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.task import Data
from elboard.methods.gan.wgan_gp import WGAN

IDENTITIES = {
    "wgan-gp": (
        "test_a_linear_critic_has_the_slope_of_its_weights",
        "test_the_penalty_is_that_of_finite_differences",
        "test_a_linear_critic_of_slope_one_measures_a_translation",
        "test_neither_loss_has_gradients_for_the_other_network",
    ),
}

POINTS = LikelihoodSpec((2,), 100, likelihood="gaussian")


def build(**options: object) -> WGAN:
    torch.manual_seed(0)
    return WGAN(WGAN.Config(**{"hidden": [8], "latent_dim": 3, **options}), POINTS)


def linear(method: WGAN, weight: tuple[float, float]) -> WGAN:
    """With the critic D(x) = weight . x."""
    method.critic.forward = lambda x: x @ torch.tensor(weight)
    return method


@pytest.mark.parametrize("weight", [(0.6, 0.8), (3.0, 4.0), (0.0, 0.0)])
def test_a_linear_critic_has_the_slope_of_its_weights(weight: tuple[float, float]) -> None:
    method = linear(build(), weight)
    found = method.slope_penalty(torch.randn(7, 2), torch.randn(7, 2))
    torch.testing.assert_close(found, torch.full((7,), (sum(w**2 for w in weight) ** 0.5 - 1) ** 2))


def test_the_penalty_is_that_of_finite_differences() -> None:
    """Of each example by itself, on the line between the two of a pair."""
    method = build(activation="tanh").double()
    x, fake = (torch.randn(5, 2, dtype=torch.float64) for _ in range(2))
    torch.manual_seed(3)
    found = method.slope_penalty(x, fake)
    torch.manual_seed(3)
    share = torch.rand(5, 1)
    at, h = share * x + (1 - share) * fake, 1e-6
    slopes = [(method.critic(at + h * e) - method.critic(at - h * e)) / (2 * h) for e in torch.eye(2, dtype=torch.float64)]
    torch.testing.assert_close(found, (torch.stack(slopes).norm(dim=0) - 1) ** 2, atol=1e-6, rtol=1e-5)
    found.mean().backward()
    assert method.critic.body[1].weight.grad.abs().sum() > 0, "the slope is differentiated"


def test_a_linear_critic_of_slope_one_measures_a_translation() -> None:
    """Along its direction: the Wasserstein distance of a law from itself moved by 2, without a penalty."""
    method = linear(build(), (0.6, 0.8))
    fake = torch.randn(50, 2)
    method.sample = lambda n: fake[:n]
    out = method.critic_loss(fake + 2 * torch.tensor([0.6, 0.8]))
    assert out["distance"].item() == pytest.approx(2.0, abs=1e-5) and out["penalty"].item() == pytest.approx(0.0, abs=1e-9)
    assert out["loss"].item() == pytest.approx(-2.0, abs=1e-5)


def test_neither_loss_has_gradients_for_the_other_network() -> None:
    method, x = build(), torch.randn(6, 2)
    own = {"critic": [*method.critic.parameters()], "generator": [*method.generator.parameters(), *method.out.parameters()]}
    for loss, whose, other in (
        (method.critic_loss(x)["loss"], "critic", "generator"),
        (method.generator_loss(6), "generator", "critic"),
    ):
        loss.backward()
        assert all(p.grad is None for p in own[other]) and any(p.grad.abs().sum() > 0 for p in own[whose])
        method.zero_grad()
    fake = method.sample(6)
    method.sample = lambda n: fake
    (found,) = torch.autograd.grad(method.generator_loss(6), fake, retain_graph=True)
    (expected,) = torch.autograd.grad(-method.critic(fake).mean(), fake)
    torch.testing.assert_close(found, expected, msg="its gradient is that of the critic in the samples")


def test_its_operations_can_be_counted() -> None:
    """Though its loss is differentiated twice."""
    count = flops_per_example(build(), {"x": torch.randn(6, 2)})
    assert count is not None and count > 2 * 3 * (3 * 8 + 8 * 2 + 2 * 8)


def test_the_generator_is_trained_in_every_fifth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build()
    trained = []
    for step in range(10):
        monkeypatch.setattr(WGAN, "global_step", step)
        method.zero_grad()
        method.training_step({"x": torch.randn(6, 2)}, 0).backward()
        trained.append(method.out.weight.grad is not None)
    assert trained == [False, False, False, False, True] * 2


def test_an_untrained_generator_draws_about_the_mean() -> None:
    method = build()
    x = torch.randn(100, 2) + torch.tensor([5.0, -5.0])
    method.prepare(Data(POINTS, {"x": x}))
    torch.testing.assert_close(method.sample(4000).mean(0), x.mean(0), atol=0.5, rtol=0)
    pixels = LikelihoodSpec((1, 4, 4), 100, likelihood="bernoulli")
    images = WGAN(WGAN.Config(hidden=[8]), pixels).sample(5)
    assert images.shape == (5, 1, 4, 4) and images.min() >= 0 and images.max() <= 1
