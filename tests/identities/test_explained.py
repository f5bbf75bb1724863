"""What must hold exactly of explanations by segments: linear models, Shapley's axioms, and the detector that is explained."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from elboard.bench.kinds.anomaly import AnomalySpec
from elboard.methods.anomaly.lime_explained import LIMEExplained
from elboard.methods.anomaly.random_explained import RandomExplained
from elboard.methods.anomaly.shap_explained import SHAPExplained
from elboard.methods.parts.attributions import coalitions, masked, replacement, segments, shapley, surrogate
from elboard.methods.vae.vae_gan_anomaly import VAEGANAnomaly

IDENTITIES = {
    "lime-explained": ("test_of_a_linear_model_both_give_its_weights", "test_the_surrogate_is_scikit_learns_ridge_regression"),
    "shap-explained": ("test_of_a_linear_model_both_give_its_weights", "test_kernel_shap_over_all_coalitions_is_the_mean_over_orders"),
    "vae-gan-anomaly": ("test_each_network_has_the_gradient_of_its_own_objective", "test_anomalies_count_nothing_in_training"),
    "random-explained": ("test_the_control_knows_nothing_of_the_model",),
}
SPEC = AnomalySpec((3, 8, 8), 100, likelihood="gaussian", network="conv-4-8")
EXPLAINED = (LIMEExplained, SHAPExplained)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, *SPEC.shape, generator=torch.Generator().manual_seed(1))


def detector(**options: Any) -> VAEGANAnomaly:
    torch.manual_seed(0)
    return VAEGANAnomaly(VAEGANAnomaly.Config(**options), SPEC).eval()


def build(cls: Any, base: Any = None, **options: Any) -> Any:
    return cls(cls.Config(**options), SPEC, {"detector": base or detector()})


def random_game(m: int) -> dict[tuple[int, ...], float]:
    values = torch.rand(2**m, generator=torch.Generator().manual_seed(m), dtype=torch.float64).tolist()
    return dict(zip(itertools.product((0, 1), repeat=m), values, strict=True))


def by_orders(game: dict[tuple[int, ...], float], m: int) -> list[float]:
    """Shapley values by their definition."""
    total = [0.0] * m
    for order in itertools.permutations(range(m)):
        there = [0] * m
        for j in order:
            before = game[tuple(there)]
            there[j] = 1
            total[j] += game[tuple(there)] - before
    return [of / math.factorial(m) for of in total]


def solved(game: dict[tuple[int, ...], float], m: int, n: int) -> Tensor:
    masks, weights = coalitions(m, n, torch.Generator().manual_seed(0))
    values = torch.tensor([game[tuple(mask)] for mask in masks.tolist()], dtype=torch.float64)
    ends = (torch.tensor(game[(of,) * m], dtype=torch.float64) for of in (0, 1))
    return shapley(masks, weights, values, *ends)


@pytest.mark.parametrize("m", [2, 3, 5, 6])
def test_kernel_shap_over_all_coalitions_is_the_mean_over_orders(m: int) -> None:
    game = random_game(m)
    assert solved(game, m, 2**m).tolist() == pytest.approx(by_orders(game, m), abs=1e-9)


def test_kernel_shap_over_some_coalitions_tends_to_them_and_always_has_their_sum() -> None:
    game = random_game(7)
    exact = torch.tensor(by_orders(game, 7), dtype=torch.float64)
    for n in (20, 60, 120):
        assert solved(game, 7, n).sum().item() == pytest.approx(game[(1,) * 7] - game[(0,) * 7], abs=1e-9)
    masks, weights = coalitions(7, 100, torch.Generator().manual_seed(1))
    assert torch.equal(masks[:50], 1 - masks[50:]) and masks.sum(1).min() > 0 and masks.sum(1).max() < 7
    assert (weights == 1).all() and len(masks) == 100
    large = random_game(8)
    many, exact = solved(large, 8, 250), torch.tensor(by_orders(large, 8), dtype=torch.float64)
    few = solved(large, 8, 24)
    assert (many - exact).abs().max() < (few - exact).abs().max()


@pytest.mark.parametrize("fill", ["mean", "blur"])
@pytest.mark.parametrize("cls", EXPLAINED)
def test_of_a_linear_model_both_give_its_weights(cls: Any, fill: str) -> None:
    """f(x) = sum a x: a segment's weight is the sum over its pixels of a (x - replacement)."""
    a, x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2)), images(1)
    method = build(cls, segments=9, n_samples=100, fill=fill, **({"ridge": 0.0} if cls is LIMEExplained else {}))
    method.error = lambda of: (a * of).sum((1, 2, 3))
    label = segments(x[0], 9)
    difference = (a * (x[0] - replacement(x[0], label, fill))).sum(0)
    wanted = torch.stack([difference[label == j].sum() for j in range(int(label.max()) + 1)])[label]
    torch.testing.assert_close(method.anomaly_map(x)[0], wanted, atol=2e-4, rtol=1e-3)


def test_the_surrogate_is_scikit_learns_ridge_regression() -> None:
    """With the package's weights: its distance to the whole image is that of cosines, its kernel the root of a Gaussian's."""
    generator = torch.Generator().manual_seed(0)
    masks, values = torch.randint(2, (60, 8), generator=generator), torch.randn(60, generator=generator)
    distance = 1 - torch.cosine_similarity(masks.double(), torch.ones(1, 8, dtype=torch.float64))
    weight = torch.sqrt(torch.exp(-(distance**2) / 0.25**2)).numpy()
    wanted = Ridge(alpha=1.0).fit(masks.numpy(), values.double().numpy(), sample_weight=weight * 60 / weight.sum())
    assert surrogate(masks, values, 1.0).tolist() == pytest.approx(wanted.coef_.tolist(), abs=1e-8)


def test_shapley_values_of_the_error_sum_to_what_the_replacement_takes_away() -> None:
    x, method = images(1), build(SHAPExplained, segments=6)
    label = segments(x[0], 6)
    weights = method.weights(x[0], label, torch.Generator().manual_seed(0))
    whole, none = method.values(x[0], label, torch.tensor([[1] * len(weights), [0] * len(weights)])).tolist()
    assert weights.sum().item() == pytest.approx(whole - none, rel=1e-4)


def test_a_mask_keeps_its_segments_and_replaces_the_others() -> None:
    x = images(1)[0]
    label = segments(x, 9)
    m = int(label.max()) + 1
    assert sorted(label.unique().tolist()) == list(range(m)) and 4 <= m <= 9 and torch.equal(label, segments(x, 9))
    instead = replacement(x, label, "mean")
    for j in range(m):
        torch.testing.assert_close(instead[:, label == j].mean(1), x[:, label == j].mean(1))
        assert instead[:, label == j].std(1, correction=0).max() < 1e-6
    masks = torch.eye(m)
    for j, one in enumerate(masked(x, label, instead, masks)):
        torch.testing.assert_close(one, torch.where(label == j, x, instead))


@pytest.mark.parametrize("cls", (*EXPLAINED, RandomExplained))
def test_scores_are_the_detector_s_and_maps_have_one_value_a_segment(cls: Any) -> None:
    base, x = detector(), images()
    method = build(cls, base, segments=9)
    assert torch.equal(method.anomaly_score(x), base.anomaly_score(x))
    found = method.anomaly_map(x)
    assert torch.equal(found, method.anomaly_map(x)) and found.shape == (3, 8, 8)
    assert torch.equal(found[1:2], method.anomaly_map(x[1:2])), "of each image by itself"
    for one, values in zip(x, found, strict=True):
        label = segments(one, 9)
        assert all(len(values[label == j].unique()) == 1 for j in range(int(label.max()) + 1))


def test_what_is_explained_is_the_sum_of_squares_and_not_the_score() -> None:
    base, x = detector(), images()
    method = build(LIMEExplained, base)
    torch.testing.assert_close(method.error(x), ((x - base.reconstruct(x)) ** 2).flatten(1).sum(1))
    torch.testing.assert_close(base.anomaly_score(x), (x - base.reconstruct(x)).abs().mean(1).flatten(1).max(1).values)


def test_the_control_knows_nothing_of_the_model() -> None:
    x = images()
    other = detector()
    with torch.no_grad():
        other.out.bias += 1
    assert torch.equal(build(RandomExplained).anomaly_map(x), build(RandomExplained, other).anomaly_map(x))
    first, second = build(RandomExplained, segments=9).anomaly_map(x)[:2]
    assert not torch.equal(first.unique(), second.unique()), "others for each image"


def test_each_network_has_the_gradient_of_its_own_objective() -> None:
    """The step of Larsen et al. with squared errors of pixels in the place of features."""
    method, x = detector(discriminator=[7, 5], latent_dim=3).train(), images(7)
    method.progress = 1.0
    torch.manual_seed(4)
    method.loss({"x": x, "y": torch.zeros(7, dtype=torch.long)})["loss"].backward()
    torch.manual_seed(4)
    mean, logvar = method.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn(7, 3)
    copy, sample = (method.decode(code).flatten(1) for code in (z, torch.randn(7, 3)))
    x = x.flatten(1)
    prior = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    pixels = 50 * (x - copy).square().sum(1).mean()
    d_x, d_copy, d_sample = (method.critic(of).sigmoid() for of in (x, copy, sample))
    objectives = {
        ("encoder", "posterior"): prior + pixels,
        ("decoder", "out"): pixels - (d_copy.log() + d_sample.log()).mean(),
        ("critic",): -(d_x.log() + (1 - d_copy).log() + (1 - d_sample).log()).mean(),
    }
    for names, objective in objectives.items():
        own = [p for name in names for p in getattr(method, name).parameters()]
        for parameter, gradient in zip(own, torch.autograd.grad(objective, own, retain_graph=True), strict=True):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-4, rtol=1e-3)


def test_the_weight_of_the_kl_rises() -> None:
    """In the loss; curves have the KL itself."""
    method, batch, found = detector(kl_warmup=0.5), {"x": images(7), "y": torch.zeros(7, dtype=torch.long)}, []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.progress = progress
        torch.manual_seed(3)
        found.append(method.loss(batch))
    kl = found[0]["kl"].item()
    assert [out["kl"].item() for out in found] == [kl] * 4 and kl > 0
    added = [out["loss"].item() - found[0]["loss"].item() for out in found]
    assert added == pytest.approx([0, kl / 2, kl, kl], rel=1e-3)


def test_anomalies_count_nothing_in_training() -> None:
    method, x = detector(discriminator=[7, 5]), images(6)
    found = []
    for batch in ({"x": x, "y": torch.tensor([0, 0, 1, 0, 1, 1])}, {"x": x[[0, 1, 3]], "y": torch.zeros(3, dtype=torch.long)}):
        torch.manual_seed(3)
        found.append(method.loss(batch)["loss"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)
