"""Exact identities of the composition of diffusions with one label each (paper 061)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.conditional import AttributeSpec
from elboard.bench.registry import discover
from elboard.methods.diffusion.composed_ddpm import ComposedDDPM
from elboard.methods.diffusion.ddpm_cfg import DDPMCFG
from elboard.methods.diffusion.single_label_ddpm import SingleLabelDDPM, combined
from elboard.methods.parts.diffusion_paths import VPLinear

IDENTITIES = {
    "composed-ddpm": (
        "test_the_step_is_that_of_the_product_of_transitions",
        "test_conditions_of_separate_dimensions_compose_exactly",
        "test_one_expert_of_weight_one_is_that_expert",
    ),
    "single-label-ddpm": (
        "test_an_expert_learns_from_its_own_labels_alone",
        "test_one_attribute_is_the_conditional_diffusion",
    ),
}
UNKNOWN = -1
Y = torch.tensor([[0, 1], [1, 2], [2, 0], [2, 2]])


def made(attributes: tuple[int, ...] = (3, 4), **options: object) -> SingleLabelDDPM:
    torch.manual_seed(0)
    spec = AttributeSpec((3, 4, 4), 10, likelihood="discretised-logistic", attributes=attributes)
    method = SingleLabelDDPM(SingleLabelDDPM.Config(**{"evaluations": 4, "width": 8, **options}), spec)
    for network in (method.network, method.average):
        torch.manual_seed(1)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return method.requires_grad_(False)


def composed(base: SingleLabelDDPM, **options: object) -> ComposedDDPM:
    return ComposedDDPM(ComposedDDPM.Config(**{"evaluations": 4, **options}), base.spec, {"experts": base})


def sampled(method: SingleLabelDDPM | ComposedDDPM, y: Tensor = Y) -> Tensor:
    torch.manual_seed(2)
    return method.sample(y)


# --- the formula ---------------------------------------------------------------------------------------


def test_the_step_is_that_of_the_product_of_transitions() -> None:
    """Against densities on a grid: N(mu_1, s^2) N(mu_2, s^2) N(mu_3, s^2) / N(mu_none, s^2)^2 is N(mu, s^2), where each mean is the step
    that a prediction of the noise takes from x_t, and mu is that of the combined one."""
    path, t, s = VPLinear(), torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    x, spread, eps, none = 0.7, 0.4, [0.9, -0.3, 0.4], 0.2

    def step(noise: float | Tensor) -> float:
        data = (x - path.sigma(t) * noise) / path.alpha(t)
        return float(path.alpha(s) * data + (path.sigma(s).square() - 0.01).sqrt() * noise)

    grid = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    log = sum(-((grid - step(one)) ** 2) for one in eps) + 2 * (grid - step(none)) ** 2
    weight = (log / (2 * spread**2)).softmax(0)
    mean = float((weight * grid).sum())
    assert float((weight * (grid - mean) ** 2).sum()) == pytest.approx(spread**2, rel=1e-6), "the variance stays"
    found = combined([torch.tensor(one) for one in eps], [torch.tensor(none)] * 3, [1.0] * 3, [0.2, 0.3, 0.5])
    assert step(found.double()) == pytest.approx(mean, abs=1e-6)


def test_weights_guide_and_reliability_mixes_the_experts_that_know_nothing() -> None:
    known, null = torch.randn(2, 5), torch.randn(2, 5)
    found = combined(list(known), list(null), [5.0, 5.0], [5 / 9, 4 / 9])
    torch.testing.assert_close(found, 5 * known[0] + 5 * known[1] - 9 * (5 / 9 * null[0] + 4 / 9 * null[1]))
    guided = combined([known[0]], [null[0]], [3.0], [1.0])
    torch.testing.assert_close(guided, null[0] + 3 * (known[0] - null[0]))


def exact(dimension: int, value: float, x: Tensor, alpha: float, sigma: float, told: bool) -> Tensor:
    """E[eps | x_t] of x ~ N(0, I) in two dimensions, of which one is measured as ``value`` with variance 1/2, or nothing."""
    mean, variance = torch.zeros(2), torch.ones(2)
    if told:  # a measurement c = x + noise: x | c is N(c / 1.5, 1 / 3)
        mean[dimension], variance[dimension] = value / 1.5, 1 / 3
    return sigma * (x - alpha * mean) / (alpha**2 * variance + sigma**2)


def test_conditions_of_separate_dimensions_compose_exactly() -> None:
    """Where what each tells is independent at every time; of one dimension that both tell the product is another than the noised one."""
    x, alpha, sigma = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), 0.6, 0.8
    each = [exact(k, value, x, alpha, sigma, True) for k, value in enumerate((0.9, -1.2))]
    null = [exact(0, 0.0, x, alpha, sigma, False)] * 2
    both = torch.stack([each[0][:, 0], each[1][:, 1]], dim=1)
    torch.testing.assert_close(combined(each, null, [1.0, 1.0], [0.5, 0.5]), both)
    assert not torch.allclose(combined(each, null, [0.5, 0.5], [0.5, 0.5]), both, atol=0.05), "nor is their average"


def test_the_product_of_noised_conditionals_is_not_the_noised_product() -> None:
    """Two measurements of one dimension, x ~ N(0, 1): x | c_1, c_2 has variance 1/5; at t = 0 the formula is exact, later it is not."""
    x, gaps = torch.linspace(-2, 2, 9)[:, None].expand(-1, 2), []
    for alpha in (0.9999, 0.6):
        sigma = math.sqrt(1 - alpha**2)
        each = [exact(0, value, x, alpha, sigma, True)[:, 0] for value in (0.9, 0.5)]
        found = combined(each, [exact(0, 0.0, x, alpha, sigma, False)[:, 0]] * 2, [1.0, 1.0], [0.5, 0.5])
        whole = sigma * (x[:, 0] - alpha * 0.2 * 2 * 1.4) / (alpha**2 * 0.2 + sigma**2)
        gaps.append(float((found - whole).abs().max() / whole.abs().max()))
    assert gaps[0] < 0.01 and gaps[1] > 0.1


# --- samples -------------------------------------------------------------------------------------------


def test_one_expert_of_weight_one_is_that_expert() -> None:
    base = made()
    for k, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        base.config.expert = k
        assert torch.equal(sampled(composed(base, weights=weights)), sampled(base))
    other = Y.clone()
    other[:, 0] = 1
    assert torch.equal(sampled(base, other), sampled(base)), "it ignores what is not its own"
    assert not torch.equal(sampled(composed(base), other), sampled(composed(base)))


def test_only_experts_with_a_weight_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    base, asked = made(), []
    whole = base.expert_noise
    monkeypatch.setattr(base, "expert_noise", lambda x, t, k, y: asked.append((k, y is None)) or whole(x, t, k, y))
    for options, expected in (
        ({}, {(0, False), (1, False), (0, True), (1, True)}),
        ({"reliability": [1.0, 0.0]}, {(0, False), (1, False), (0, True)}),
        ({"weights": [0.5, 0.5]}, {(0, False), (1, False)}),
        ({"weights": [0.0, 1.0]}, {(1, False)}),
    ):
        asked.clear()
        sampled(composed(base, **options))
        assert set(asked) == expected and len(asked) == 4 * len(expected)


def test_large_weights_stay_in_the_range_of_images() -> None:
    x = sampled(composed(made(), weights=[20.0, 20.0]))
    assert x.min() >= -0.03 and x.max() <= 1.03


def test_weights_are_one_for_each_attribute_and_reliabilities_sum_to_one() -> None:
    with pytest.raises(UserError, match="weights=.* are not 2"):
        composed(made(), weights=[1.0])
    with pytest.raises(UserError, match="of sum 1.2, not 1"):
        composed(made(), reliability=[0.6, 0.6])


def test_recipes_are_weights_of_one_formula() -> None:
    card = discover("method")["composed-ddpm"].card
    assert [sum(card.recipe(name)["weights"]) for name in ("average", "first", "second")] == [1.0] * 3, "no unconditional term"


# --- training ------------------------------------------------------------------------------------------


def test_an_expert_learns_from_its_own_labels_alone() -> None:
    method = made().requires_grad_(True)
    x = torch.rand(6, 3, 4, 4)
    method.loss({"x": x, "y": torch.tensor([[1, UNKNOWN]] * 6)})["loss"].backward()
    first, second = method.network.each
    assert all(p.grad is None for p in second.parameters()) and any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in first.parameters()
    )
    mixed = torch.tensor([[1, UNKNOWN]] * 3 + [[UNKNOWN, 2]] * 3)

    def loss(y: Tensor, rows: slice) -> Tensor:
        torch.manual_seed(3)
        return method.loss({"x": x[rows], "y": y[rows]})["loss"]

    seen = []
    method.errors = lambda x, t, noise, expert, y: seen.append((expert, len(x), set(y.tolist()))) or x.mean((1, 2, 3))  # type: ignore[method-assign]
    loss(mixed, slice(None))
    assert [one[:2] for one in seen] == [(0, 3), (1, 3)]
    assert seen[0][2] <= {1, 3} and seen[1][2] <= {2, 4}, "the label, or that which stands for none"


def test_one_attribute_is_the_conditional_diffusion() -> None:
    """The loss of :mod:`ddpm_cfg` of the same draws, and its samples with the weight as guidance."""
    method = made((3,))
    guided = DDPMCFG(DDPMCFG.Config(width=8, drop=0.15), method.spec)
    for network, of in ((guided.network, method.network), (guided.average, method.average)):
        network.load_state_dict(of.each[0].state_dict())
    x, y = torch.rand(8, 3, 4, 4), torch.arange(8)[:, None] % 3
    torch.manual_seed(4)
    loss = method.loss({"x": x, "y": y})["loss"]
    torch.manual_seed(4)
    scaled = (x - method.centre) / method.scale
    t, noise = method.times(8), torch.randn_like(scaled)
    dropped = torch.where(torch.rand(8) < 0.15, 3, y[:, 0])
    torch.testing.assert_close(loss, guided.errors(scaled, t, noise, y=dropped).mean())
    for weight in (1.0, 2.0):
        torch.manual_seed(5)
        found = method.drawn(y, [weight], [1.0], "ddim", 4)
        torch.manual_seed(5)
        torch.testing.assert_close(found, guided.drawn(y, "ddim", 4, "time", weight), rtol=1e-3, atol=1e-4)
