"""What must hold exactly for classifiers of domains: penalties by hand, their optima, what has no part in them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.kinds.domains import DomainSpec
from elboard.methods.domains.base import DomainMethod
from elboard.methods.domains.cad import CAD
from elboard.methods.domains.cond_cad import ConditionalCAD
from elboard.methods.domains.coral import CORAL
from elboard.methods.domains.dann import DANN
from elboard.methods.domains.ent_bottleneck import EntropyBottleneck
from elboard.methods.domains.erm import ERM
from elboard.methods.domains.irm import IRM
from elboard.methods.parts.entropy_models import FactorisedDensity

IDENTITIES = {
    "cad": (
        "test_cad_is_its_formula",
        "test_both_forms_are_of_one_classifier",
        "test_constant_codes_have_the_loss_of_the_shares",
    ),
    "cond-cad": (
        "test_the_conditional_form_is_cad_within_each_class",
        "test_with_one_class_both_are_one",
        "test_an_image_without_partners_has_no_part",
    ),
    "ent-bottleneck": (
        "test_masses_of_all_steps_sum_to_one",
        "test_the_rate_is_that_of_the_density",
        "test_the_rate_has_gradients_in_far_tails_and_in_mixed_precision",
    ),
    "erm": ("test_images_without_labels_have_no_part_in_the_error",),
    "coral": ("test_coral_is_its_formula_and_0_for_equal_domains",),
    "dann": ("test_the_discriminator_and_the_code_have_gradients_of_opposite_sign",),
    "irm": ("test_irm_is_the_squared_derivative_of_a_scale",),
}
SPEC = DomainSpec((1, 4, 4), 30, n_classes=3, domains=3, sources=2)
Y = torch.tensor([0, 1, 0, 1, 2, 0, 1, 0, -1, -1, -1, -1])
DOMAIN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])


def build(cls: type[DomainMethod], **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(code_dim=4, **options), SPEC).double()


def batch() -> dict[str, Tensor]:
    x = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    return {"x": x, "y": Y, "domain": DOMAIN}


def some_codes() -> Tensor:
    return torch.randn(12, 4, generator=torch.Generator().manual_seed(2)).double()


def some_logits() -> Tensor:
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(3)).double()


def by_hand(z: Tensor, domain: Tensor, y: Tensor | None = None, tau: float = 0.1, flipped: bool = True) -> float:
    """The penalty of the docstrings in loops of NumPy."""
    found, v = [], z.numpy()
    for i in range(len(v)):
        others = [j for j in range(len(v)) if j != i and (y is None or y[j] == y[i] >= 0)]
        partners = [j for j in others if (domain[j] != domain[i]) == flipped]
        if partners:
            total, part = (sum(math.exp(v[i] @ v[j] / tau) for j in of) for of in (others, partners))
            found.append(-math.log(part / total) if flipped else math.log(part / total))
    return float(np.mean(found)) if found else 0.0


@pytest.mark.parametrize("flipped", [True, False])
def test_cad_is_its_formula(flipped: bool) -> None:
    z, method = some_codes(), build(CAD, flipped=flipped, temperature=0.5)
    assert float(method.penalty(z, some_logits(), batch())) == pytest.approx(by_hand(z, DOMAIN, tau=0.5, flipped=flipped), rel=1e-12)


def test_both_forms_are_of_one_classifier() -> None:
    """With two images, each the other's one partner, q of the own domain is 0 or 1; with more, 1 - q is what the flipped form has."""
    z = some_codes()[[0, 1, 4]]  # two of a domain, one of another
    of = {"y": Y[[0, 1, 4]], "domain": DOMAIN[[0, 1, 4]]}
    logits = some_logits()[:3]
    flipped = build(CAD).penalty(z[[0, 1, 2]], logits, of)
    p = (z @ z.T / 0.1).fill_diagonal_(-math.inf).softmax(1)
    own = torch.stack([p[0, 1], p[1, 0]])
    assert float(build(CAD, flipped=False).penalty(z, logits, of)) == pytest.approx(float(own.log().mean())), "the third has no partner"
    assert float(flipped) == pytest.approx(float(-(torch.log1p(-own).sum() + math.log(1.0)) / 3))


def test_constant_codes_have_the_loss_of_the_shares() -> None:
    """Of 11 others 8 are of other domains."""
    z = torch.ones(12, 4).double()
    assert float(build(CAD).penalty(z, some_logits(), batch())) == pytest.approx(-math.log(8 / 11))
    assert float(build(CAD, flipped=False).penalty(z, some_logits(), batch())) == pytest.approx(math.log(3 / 11))


def test_apart_domains_have_a_large_loss_and_its_gradient_joins_them() -> None:
    z = torch.zeros(12, 4).double()
    z[torch.arange(12), DOMAIN] = 2.0
    at = z.requires_grad_()
    loss = build(CAD).penalty(at, some_logits(), batch())
    assert float(loss.detach()) > 30
    moved = (at - 0.01 * torch.autograd.grad(loss, at)[0]).detach()
    distance = (moved[DOMAIN == 0].mean(0) - moved[DOMAIN == 1].mean(0)).norm()
    assert distance < (z[0] - z[4]).norm()


@pytest.mark.parametrize("cls", [CAD, ConditionalCAD, CORAL, IRM])
def test_penalties_are_in_single_precision_where_the_rest_is_not(cls: type[DomainMethod]) -> None:
    method, z, of = build(cls).float(), 3 * some_codes().float(), {**batch(), "x": batch()["x"].float()}
    with torch.autocast("cpu", torch.bfloat16):
        found = method.parts_of(z, of)["penalty"]
        logits = method.logits(z)
    torch.testing.assert_close(found, method.penalty(z, logits, of), rtol=1e-6, atol=0)


@pytest.mark.parametrize("predicted", [True, False])
def test_the_conditional_form_is_cad_within_each_class(predicted: bool) -> None:
    z, logits = some_codes(), some_logits()
    y = torch.where(Y < 0, logits.argmax(1), Y) if predicted else Y
    method = build(ConditionalCAD, predicted=predicted, temperature=0.5)
    assert float(method.penalty(z, logits, batch())) == pytest.approx(by_hand(z, DOMAIN, y, tau=0.5), rel=1e-12)


def test_with_one_class_both_are_one() -> None:
    of = {**batch(), "y": torch.zeros(12, dtype=torch.long)}
    z, logits = some_codes(), some_logits()
    torch.testing.assert_close(build(ConditionalCAD).penalty(z, logits, of), build(CAD).penalty(z, logits, of), rtol=0, atol=0)


def test_an_image_without_partners_has_no_part() -> None:
    """Class 2 is in domain 1 alone: its one image changes nothing, and has no gradient."""
    z = some_codes().requires_grad_()
    method = build(ConditionalCAD, predicted=False)
    loss = method.penalty(z, some_logits(), batch())
    slope = torch.autograd.grad(loss, z)[0]
    assert slope.isfinite().all() and not slope[4].any() and not slope[8:].any() and slope[0].any()
    one = {**batch(), "domain": torch.zeros(12, dtype=torch.long)}
    for cls in (CAD, ConditionalCAD):
        assert float(build(cls).penalty(some_codes(), some_logits(), one)) == 0, "a single domain has no partners"


@pytest.mark.parametrize("cls", [ERM, CAD, ConditionalCAD, CORAL, DANN, IRM])
def test_without_a_weight_each_is_erm(cls: type[DomainMethod]) -> None:
    options = {"anneal": 0.0} if cls is IRM else {}
    one, erm = build(cls, weight=0.0, **options), build(ERM)
    erm.load_state_dict({name: value for name, value in one.state_dict().items() if not name.startswith("discriminator")})
    slopes = [torch.autograd.grad(m.loss(batch())["loss"], list(m.encoder.parameters())) for m in (one, erm)]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)


def test_images_without_labels_have_no_part_in_the_error() -> None:
    method, whole = build(ERM), batch()
    known = {name: value[Y >= 0] for name, value in whole.items()}
    torch.testing.assert_close(method.loss(whole)["loss"], method.loss(known)["loss"])
    assert float(method.loss(known)["error"]) == pytest.approx(float(F.cross_entropy(method.logits(method.codes(known["x"])), known["y"])))
    assert float(method.loss({name: value[Y < 0] for name, value in whole.items()})["loss"].detach()) == 0


def test_coral_is_its_formula_and_0_for_equal_domains() -> None:
    z = some_codes()
    v, pairs = z.numpy(), []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        one, two = v[DOMAIN.numpy() == a], v[DOMAIN.numpy() == b]
        pairs.append(((one.mean(0) - two.mean(0)) ** 2).mean() + ((np.cov(one.T) - np.cov(two.T)) ** 2).mean())
    assert float(build(CORAL).penalty(z, some_logits(), batch())) == pytest.approx(np.mean(pairs))
    equal = z[:4].repeat(3, 1)
    assert float(build(CORAL).penalty(equal, some_logits(), batch())) == pytest.approx(0, abs=1e-15)


def test_the_discriminator_and_the_code_have_gradients_of_opposite_sign() -> None:
    method, of = build(DANN, weight=1.0), batch()
    out = method.loss(of)
    z = method.codes(of["x"])
    told = F.cross_entropy(method.discriminator(z), of["domain"])
    for module, sign in ((method.discriminator, 1), (method.encoder, -1)):
        own = torch.autograd.grad(told, list(module.parameters()), retain_graph=True)
        found = torch.autograd.grad(out["loss"] - out["error"], list(module.parameters()), retain_graph=True)
        for a, b in zip(own, found, strict=True):
            torch.testing.assert_close(sign * a, b)


def slope_by_autograd(logits: Tensor, of: Tensor) -> float:
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    return float(torch.autograd.grad(F.cross_entropy(w * logits[of], Y[of]), w)[0])


def test_irm_is_the_squared_derivative_of_a_scale() -> None:
    """By two halves of the images of a domain: over all orders of these the mean has no variance of the derivative in it."""
    logits = some_logits()
    expected = [slope_by_autograd(logits, of[::2]) * slope_by_autograd(logits, of[1::2]) for of in (torch.arange(4), torch.arange(4, 8))]
    assert float(build(IRM).penalty(some_codes(), logits, batch())) == pytest.approx(sum(expected) / 2)
    alone = {"y": Y[:4], "domain": DOMAIN[:4]}
    found = []
    for order in map(list, itertools.permutations(range(4))):
        of = {name: value[order] for name, value in alone.items()}
        found.append(float(build(IRM).penalty(some_codes()[:4], logits[order], of)))
    each = [slope_by_autograd(logits, torch.tensor([i])) for i in range(4)]
    assert np.mean(found) == pytest.approx(np.mean([a * b for a, b in itertools.permutations(each, 2)])), "of pairs of different images"
    method = build(IRM)
    early = method.loss(batch())
    method.progress = 0.5
    late = method.loss(batch())
    assert float(early["loss"]) == pytest.approx(float(early["error"] + early["penalty"]))
    assert float(late["loss"]) == pytest.approx(float(late["error"] / 100 + late["penalty"]))


def test_masses_of_all_steps_sum_to_one() -> None:
    torch.manual_seed(0)
    density = FactorisedDensity(2).double()
    for factor in density.factors:
        factor.data.normal_()
    grid = torch.arange(-3000, 3001).double()[:, None].expand(-1, 2)
    high, low = density.logits(grid + 0.5), density.logits(grid - 0.5)
    assert (high > low).all(), "monotone"
    assert torch.allclose((high.sigmoid() - low.sigmoid()).sum(0), torch.ones(2).double(), atol=1e-6)
    x = torch.randn(5, 2).double() * 5
    masses = (density.logits(x + 0.5).sigmoid() - density.logits(x - 0.5).sigmoid()).log().sum(1)
    torch.testing.assert_close(density.log_mass(x), masses)


def test_the_rate_has_gradients_in_far_tails_and_in_mixed_precision() -> None:
    """The logit is linear there, so that the mass falls by the same factor for each step further out."""
    torch.manual_seed(0)
    density = FactorisedDensity(2)
    far = torch.tensor([[-900.0, 700.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(density.log_mass(far), far)
    rates = (density.logits(far + 0.5) - density.logits(far - 0.5)).detach()
    torch.testing.assert_close(slope, rates * torch.tensor([1.0, -1.0]), rtol=1e-3, atol=0)
    near = torch.linspace(20, 22, 50)[:, None].expand(-1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = density.log_mass(near)
    torch.testing.assert_close(mixed, density.log_mass(near))


def test_the_rate_is_that_of_the_density() -> None:
    """Noise is uniform on a step of 1 in units of e^s, and the head sees it divided by that again."""
    method, of = build(EntropyBottleneck, weight=0.5), batch()
    z = method.codes(of["x"])
    noise = method.noisy(z) - z * method.scale.exp()
    assert noise.abs().max() <= 0.5 and float(method.scale[0].exp()) == pytest.approx(10)
    torch.manual_seed(5)
    out = method.loss(of)
    torch.manual_seed(5)
    noisy = method.noisy(z)
    rate, logits = -method.density.log_mass(noisy).mean(), method.logits(noisy / 10)
    error = F.cross_entropy(logits[Y >= 0], Y[Y >= 0])
    assert float(out["rate"]) == pytest.approx(float(rate)) and float(out["loss"]) == pytest.approx(float(error + 0.5 * rate))
