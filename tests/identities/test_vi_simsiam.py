"""SimSiam and its variational form: densities on the sphere, what the concentration learns, where gradients stop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from torch import Tensor

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.parts.spherical import power_spherical_log_prob, power_spherical_normaliser
from elboard.methods.selfsup.base import Seen
from elboard.methods.selfsup.moco_v3 import info_nce
from elboard.methods.selfsup.simsiam import SimSiam
from elboard.methods.selfsup.vi_simsiam import VISimSiam

IDENTITIES = {
    "simsiam": (
        "test_simsiam_is_minus_the_mean_cosine",
        "test_swapped_views_have_the_same_loss_and_targets_no_gradient",
        "test_without_stopped_gradients_embeddings_become_one",
    ),
    "vi-simsiam": (
        "test_the_normaliser_on_the_sphere_in_three_dimensions",
        "test_the_density_integrates_to_one_with_the_mean_that_is_known",
        "test_without_concentration_it_is_uniform_and_has_no_direction",
        "test_the_best_concentration_reads_the_cosine",
        "test_the_loss_is_the_mean_of_each_view_against_the_other",
        "test_swapped_views_have_the_same_loss_and_targets_no_gradient",
        "test_a_constant_concentration_is_not_simsiam",
        "test_alignment_and_uniformity_are_the_contrastive_loss",
    ),
}
SPEC = ClassSpec((1, 12, 12), 32, n_classes=4)


def build(cls: type = VISimSiam, **options: object) -> SimSiam:
    torch.manual_seed(0)
    return cls(cls.Config(**{"hidden": 24, "latent_dim": 16, "bottleneck": 8, **options}), SPEC).train()


def batch(n: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(n, 1, 12, 12, generator=generator) for name in ("x", "view")}


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def best(cosine: float, d: int) -> float:
    """The concentration with the largest likelihood of one cosine, by Newton's method in the logarithm."""
    log = double((d - 1) * cosine / (1 - cosine)).log().requires_grad_()
    for _ in range(50):
        (slope,) = torch.autograd.grad(power_spherical_log_prob(double(cosine), log.exp(), d), log, create_graph=True)
        (bend,) = torch.autograd.grad(slope, log)
        log = (log - slope / bend).detach().requires_grad_()
    return log.exp().item()


def test_the_normaliser_on_the_sphere_in_three_dimensions() -> None:
    kappa = torch.tensor([0.0, 0.3, 5.0, 200.0], dtype=torch.float64)
    expected = (kappa + 2) * math.log(2) + math.log(math.pi) - torch.log(kappa + 1)
    torch.testing.assert_close(power_spherical_normaliser(kappa, 3), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [5, 16])
@pytest.mark.parametrize("kappa", [0.5, 4.0, 60.0])
def test_the_density_integrates_to_one_with_the_mean_that_is_known(d: int, kappa: float) -> None:
    area = math.exp(math.log(2) + (d - 1) / 2 * math.log(math.pi) - math.lgamma((d - 1) / 2))  # of the sphere of one dimension less

    def mass(cosine: float, power: int) -> float:
        density = power_spherical_log_prob(double(cosine), double(kappa), d).exp().item()
        return cosine**power * area * (1 - cosine**2) ** ((d - 3) / 2) * density

    assert quad(mass, -1, 1, args=(0,), epsabs=1e-11)[0] == pytest.approx(1, abs=1e-8)
    assert quad(mass, -1, 1, args=(1,), epsabs=1e-11)[0] == pytest.approx(kappa / (d - 1 + kappa), abs=1e-8)


@pytest.mark.parametrize("d", [3, 128])
def test_without_concentration_it_is_uniform_and_has_no_direction(d: int) -> None:
    cosine = torch.linspace(-0.9, 1, 7, dtype=torch.float64, requires_grad=True)
    found = power_spherical_log_prob(cosine, torch.zeros(7), d)
    area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    torch.testing.assert_close(found, torch.full((7,), -area, dtype=torch.float64))
    (slope,) = torch.autograd.grad(found.sum(), cosine)
    assert not slope.any()


@pytest.mark.parametrize(("d", "cosine"), [(16, 0.3), (128, 0.6), (2048, 0.5), (2048, 0.95)])
def test_the_best_concentration_reads_the_cosine(d: int, cosine: float) -> None:
    found = best(cosine, d)
    assert found == pytest.approx((d - 1) * cosine / (1 - cosine) + 0.5, rel=0.01)
    kappa = double(found).requires_grad_()
    (slope,) = torch.autograd.grad(power_spherical_log_prob(double(cosine), kappa, d), kappa)
    a, b = (d - 1) / 2 + found, (d - 1) / 2
    closed = math.log1p(cosine) - math.log(2) - torch.digamma(double(a)) + torch.digamma(double(a + b))
    assert slope.item() == pytest.approx(closed.item(), abs=1e-12) == pytest.approx(0, abs=1e-9)


def test_two_known_optima() -> None:
    assert best(0.5, 2048) == pytest.approx(2047.5, rel=1e-3) and best(0.95, 2048) == pytest.approx(38893.5, rel=1e-3)


def test_cosines_at_both_ends_are_finite_and_single_precision_loses_nothing() -> None:
    ends = torch.tensor([-1.0, 1.0 + 1e-6], requires_grad=True)
    found = power_spherical_log_prob(ends, torch.tensor([2000.0, 12_000.0]), 2048)
    (slope,) = torch.autograd.grad(found.sum(), ends)
    assert found.isfinite().all() and slope.isfinite().all() and found.dtype == torch.float64
    exact = power_spherical_log_prob(double(0.8), double(9000.0), 2048)
    assert power_spherical_log_prob(torch.tensor(0.8), torch.tensor(9000.0), 2048).item() == pytest.approx(exact.item(), rel=1e-6)


def test_the_loss_is_the_mean_of_each_view_against_the_other() -> None:
    """A view's concentration meets the other one's embedding, which has no gradient."""
    method, given = build(), batch()
    views = [method.see(method.backbone(given[name])) for name in ("x", "view")]
    expected = 0.0
    for seen, other in (views, views[::-1]):
        cosine = F.cosine_similarity(seen.prediction, other.embedding.detach())
        expected -= 0.5 * power_spherical_log_prob(cosine, seen.spread, 16).mean()
    torch.testing.assert_close(method.loss(given)["loss"], expected.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("cls", [SimSiam, VISimSiam])
def test_swapped_views_have_the_same_loss_and_targets_no_gradient(cls: type) -> None:
    method, given = build(cls), batch()
    swapped = {"x": given["view"], "view": given["x"]}
    torch.testing.assert_close(method.loss(given)["loss"], method.loss(swapped)["loss"])
    seen = method.see(method.backbone(given["x"])), method.see(method.backbone(given["view"]))
    targets = method.targets((given["x"], given["view"]), seen)
    assert not any(of.requires_grad for target in targets for of in target if of is not None)
    assert torch.equal(targets[1].embedding, seen[1].embedding)


def test_simsiam_is_minus_the_mean_cosine() -> None:
    method, given = build(SimSiam), batch()
    (first, second) = (method.see(method.backbone(given[name])) for name in ("x", "view"))
    cosines = F.cosine_similarity(first.prediction, second.embedding), F.cosine_similarity(second.prediction, first.embedding)
    torch.testing.assert_close(method.loss(given)["loss"], -0.5 * (cosines[0] + cosines[1]).mean())
    assert not any(module.affine for module in method.projector[-1:])


def test_a_constant_concentration_is_not_simsiam() -> None:
    """Of a von Mises-Fisher density the slope in the cosine is -kappa, SimSiam's times kappa; here it is -kappa / (1 + cos)."""
    cosine = torch.tensor([-0.5, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(-power_spherical_log_prob(cosine, double(7.0), 16).sum(), cosine)
    torch.testing.assert_close(slope, -7 / (1 + cosine.detach()))


def test_the_uncertainty_reads_how_well_the_other_view_is_predicted() -> None:
    """A head alone, trained on two kinds of embeddings whose cosines are known, gives the concentration of each."""
    method, d = build(), 16
    kinds = torch.tensor([0.9, 0.5])
    u = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([u], lr=0.05)
    prediction = torch.zeros(2, d)
    prediction[:, 0] = 1
    target = torch.zeros(2, d)
    target[:, 0], target[:, 1] = kinds, (1 - kinds**2).sqrt()
    for _ in range(1500):
        optimizer.zero_grad()
        kappa = (d - 1) * F.softplus(u) + 1e-3
        method.term(Seen(target, prediction, kappa), Seen(target, target)).backward()
        optimizer.step()
    found = ((d - 1) * F.softplus(u)).detach()
    torch.testing.assert_close(found, (d - 1) * kinds / (1 - kinds) + 0.5, rtol=0.01, atol=0)


def test_uncertainty_falls_with_the_concentration_which_can_reach_its_scale() -> None:
    method, x = build(cap=2.0).eval(), batch()["x"]
    last = method.concentration[-1]
    with torch.no_grad():
        low = method.uncertainty(x)
        last.bias.add_(1.0)
        assert (method.uncertainty(x) < low).all()
        last.bias.add_(1e4)
        torch.testing.assert_close(method.uncertainty(x), torch.full((8,), -2.0))
        last.bias.sub_(1e5)
        assert (method.see(method.backbone(x)).spread > 0).all()


def test_alignment_and_uniformity_are_the_contrastive_loss() -> None:
    """J_align + J_uniform of a batch under von Mises-Fisher densities = log B - InfoNCE of temperature 1 / kappa."""
    generator = torch.Generator().manual_seed(2)
    z, mu = (F.normalize(torch.randn(10, 6, generator=generator, dtype=torch.float64)) for _ in range(2))
    kappa = 5.0
    align = kappa * (z * mu).sum(1).mean()
    uniform = -torch.logsumexp(kappa * z @ mu.T, 1).sub(math.log(10)).mean()
    torch.testing.assert_close(align + uniform, math.log(10) - info_nce(z, mu, 1 / kappa), rtol=1e-12, atol=1e-12)


def test_without_stopped_gradients_embeddings_become_one() -> None:
    """What the stop-gradient is for: with it removed, and the last normalisation too, the spread of embeddings falls towards 0."""

    class Free(SimSiam):
        def targets(self, views: tuple[Tensor, Tensor], seen: tuple[Seen, Seen]) -> tuple[Seen, Seen]:
            return seen

    spreads = []
    for cls in (Free, SimSiam):
        method, given = build(cls), batch(32)
        if cls is Free:
            method.projector = method.projector[:-1]
        optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            out = method.loss(given)
            out["loss"].backward()
            optimizer.step()
        spreads.append(out["embedding_std"].item())
    assert spreads[0] < 0.3 and spreads[1] > 0.6, spreads


def test_features_are_normalised_before_their_relu() -> None:
    """So that each of them is more than 0 for some images and 0 for others, whatever all images have in common."""
    method = build()
    features = method.backbone(3 + 0.1 * torch.rand(64, 1, 12, 12, generator=torch.Generator().manual_seed(3)))
    alive = (features > 0).float().mean(0)
    assert (alive > 0.2).all() and (alive < 0.8).all()
