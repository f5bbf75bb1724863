"""Variational self-supervised learning, and the teachers of BYOL and MoCo v3: closed forms, optima, moving averages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.selfsup.base import Momentum, Seen
from elboard.methods.selfsup.byol import BYOL
from elboard.methods.selfsup.moco_v3 import MoCoV3
from elboard.methods.selfsup.supervised import Supervised
from elboard.methods.selfsup.variational import LEAST, MOST, divergence, likelihood
from elboard.methods.selfsup.vssl_cosine import CosineVSSL
from elboard.methods.selfsup.vssl_gaussian import GaussianVSSL

IDENTITIES = {
    "vssl-gaussian": (
        "test_the_divergence_is_that_of_gaussians_and_zero_at_the_prior",
        "test_the_divergence_is_a_mean_over_samples",
        "test_with_unit_variances_they_are_multiples_of_byols_loss_and_of_the_squared_error",
        "test_the_likelihoods_are_those_of_gaussians",
        "test_the_best_variance_is_the_difference_of_views_times_the_teachers_deviation",
        "test_other_likelihoods_learn_no_difference_of_views",
        "test_the_loss_compares_the_students_prediction_with_the_teachers_mean",
        "test_means_of_the_gaussian_form_cannot_shrink",
    ),
    "vssl-cosine": (
        "test_with_unit_variances_they_are_multiples_of_byols_loss_and_of_the_squared_error",
        "test_the_cosine_form_is_the_gaussian_one_on_the_sphere",
        "test_the_best_variance_is_the_difference_of_views_times_the_teachers_deviation",
        "test_the_loss_compares_the_students_prediction_with_the_teachers_mean",
        "test_the_ends_of_the_average",
    ),
    "byol": (
        "test_the_teacher_follows_by_moving_averages_and_gets_no_gradient",
        "test_swapped_views_have_the_same_loss",
        "test_with_unit_variances_they_are_multiples_of_byols_loss_and_of_the_squared_error",
    ),
    "moco-v3": (
        "test_the_teacher_follows_by_moving_averages_and_gets_no_gradient",
        "test_swapped_views_have_the_same_loss",
        "test_contrast_is_a_classification_of_the_batch",
    ),
    "supervised": ("test_the_reference_is_cross_entropy_of_both_views", "test_swapped_views_have_the_same_loss"),
}
SPEC = ClassSpec((1, 12, 12), 32, n_classes=4)
TAUGHT = (BYOL, MoCoV3, GaussianVSSL, CosineVSSL)
D = 6


def build(cls: type, **options: object) -> Momentum:
    torch.manual_seed(0)
    heads = {} if cls is Supervised else {"hidden": 24, "latent_dim": D}
    return cls(cls.Config(**{**heads, **options}), SPEC).train()


def batch(n: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    views = {name: torch.rand(n, 1, 12, 12, generator=generator) for name in ("x", "view")}
    return {**views, "y": torch.arange(n) % 4}


def means(n: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, D, generator=generator, dtype=torch.float64)
    return first, second


def logvars(n: int = 5, width: int = D) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, n, width, generator=generator, dtype=torch.float64)
    return first, second


def term(cls: type, mean: Tensor, to: Tensor, logvar: Tensor, to_logvar: Tensor, **options: object) -> Tensor:
    return build(cls, **options).term(Seen(mean, mean, logvar), Seen(to, to, to_logvar))


def test_the_divergence_is_that_of_gaussians_and_zero_at_the_prior() -> None:
    (mean, to), (logvar, to_logvar) = means(), logvars()
    torch.testing.assert_close(
        divergence((mean - to) ** 2, logvar, to_logvar).sum(1), kl_diagonal(mean, logvar, to, to_logvar), rtol=1e-12, atol=1e-12
    )
    leaves = mean.clone().requires_grad_(), logvar.clone().requires_grad_()
    found = divergence((leaves[0] - mean) ** 2, leaves[1], logvar).sum()
    assert found.item() == 0 and not any(of.any() for of in torch.autograd.grad(found, leaves))


def test_the_divergence_is_a_mean_over_samples() -> None:
    (mean, to), (logvar, to_logvar) = means(1), logvars(1)
    torch.manual_seed(4)
    q, p = (torch.distributions.Normal(m, (0.5 * v).exp()) for m, v in ((mean, logvar), (to, to_logvar)))
    z = q.sample((1_000_000,))
    estimate = (q.log_prob(z) - p.log_prob(z)).sum(-1).mean()
    assert divergence((mean - to) ** 2, logvar, to_logvar).sum().item() == pytest.approx(estimate.item(), rel=0.01)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_with_unit_variances_they_are_multiples_of_byols_loss_and_of_the_squared_error(weight: float) -> None:
    (mean, to), zero = means(), torch.zeros(5, D, dtype=torch.float64)
    found = term(GaussianVSSL, mean, to, zero, zero, weight=weight)
    torch.testing.assert_close(found, (1 + weight) * 0.5 * ((mean - to) ** 2).sum(1).mean() / D)
    unit = [F.normalize(of) for of in (mean, to)]
    byol = build(BYOL).term(Seen(unit[0], unit[0]), Seen(unit[1], unit[1]))
    scaled = [of * math.sqrt(D) for of in unit]
    found = term(CosineVSSL, *scaled, zero[:, :1], zero[:, :1], weight=weight)
    torch.testing.assert_close(found, (1 + weight) / 2 * byol)
    torch.testing.assert_close(byol, (2 - 2 * F.cosine_similarity(mean, to)).mean())


@pytest.mark.parametrize("kind", ["student", "fixed", "teacher"])
def test_the_cosine_form_is_the_gaussian_one_on_the_sphere(kind: str) -> None:
    scaled = [F.normalize(of) * math.sqrt(D) for of in means()]
    logvar, to_logvar = logvars(width=1)
    cosine = term(CosineVSSL, *scaled, logvar, to_logvar, weight=0.7, likelihood=kind)
    gaussian = term(GaussianVSSL, *scaled, logvar.expand(-1, D), to_logvar.expand(-1, D), weight=0.7, likelihood=kind)
    torch.testing.assert_close(cosine, gaussian, rtol=1e-10, atol=1e-10)


def test_the_likelihoods_are_those_of_gaussians() -> None:
    (mean, to), (logvar, to_logvar) = means(), logvars()
    squared, half = (mean - to) ** 2, 0.5 * math.log(2 * math.pi)
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    torch.testing.assert_close(likelihood("student", squared, logvar, to_logvar) + half, -normal.log_prob(to))
    expected = -torch.distributions.Normal(to, 1.0).log_prob(mean)
    torch.testing.assert_close(likelihood("fixed", squared, logvar, to_logvar) + half, expected)
    cross = -torch.distributions.Normal(to, (0.5 * to_logvar).exp()).log_prob(mean) + 0.5 * logvar.exp() / to_logvar.exp()
    torch.testing.assert_close(likelihood("teacher", squared, logvar, to_logvar) + half, cross)


def optimum(kind: str, squared: Tensor, to_logvar: Tensor, weight: float) -> Tensor:
    """The variance at which likelihood and weighted divergence are least, by bisection of the slope in its logarithm, which rises."""
    low, high = torch.full_like(squared, -30.0), torch.full_like(squared, 30.0)
    for _ in range(100):
        middle = ((low + high) / 2).requires_grad_()
        loss = likelihood(kind, squared, middle, to_logvar) + weight * divergence(squared, middle, to_logvar)
        (slope,) = torch.autograd.grad(loss.sum(), middle)
        low, high = torch.where(slope < 0, middle.detach(), low), torch.where(slope < 0, high, middle.detach())
    return low.exp()


def test_the_best_variance_is_the_difference_of_views_times_the_teachers_deviation() -> None:
    (mean, to), (_, to_logvar) = means(), logvars()
    difference = (mean - to).abs()
    torch.testing.assert_close(optimum("student", difference**2, to_logvar, 1.0), difference * (0.5 * to_logvar).exp())
    own = (difference**2).log()  # where the teacher has the same variance, it is the squared error
    torch.testing.assert_close(optimum("student", difference**2, own, 1.0), difference**2)
    cosine = F.cosine_similarity(mean, to)
    expected = (2 * (1 - cosine) * to_logvar[:, 0].exp()).sqrt()
    torch.testing.assert_close(optimum("student", 2 * (1 - cosine), to_logvar[:, 0], 1.0), expected)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_other_likelihoods_learn_no_difference_of_views(weight: float) -> None:
    """With a fixed variance the student's becomes the teacher's; with the prior as likelihood a fixed share of it, smaller at each turn."""
    (mean, to), (_, to_logvar) = means(), logvars()
    squared = (mean - to) ** 2
    torch.testing.assert_close(optimum("fixed", squared, to_logvar, weight), to_logvar.exp())
    torch.testing.assert_close(optimum("teacher", squared, to_logvar, weight), weight / (1 + weight) * to_logvar.exp())


@pytest.mark.parametrize("cls", TAUGHT)
def test_the_teacher_follows_by_moving_averages_and_gets_no_gradient(cls: type) -> None:
    method = build(cls, tau=0.9)
    student = [*method.backbone.parameters(), *method.projector.parameters()]
    assert len(list(method.teacher.parameters())) == len(student) and any("predictor" in name for name, _ in method.named_parameters())
    method.loss(batch())["loss"].backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in student)
    assert not {id(of) for group in method.parameter_groups() for of in group["params"]} & {id(of) for of in method.teacher.parameters()}
    with torch.no_grad():
        for parameter in student:
            parameter.add_(torch.randn_like(parameter))
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    for progress, tau in ((0.0, 0.9), (0.5, 0.95), (1.0, 1.0)):
        method.progress = progress
        method.after_step({}, 0)
        before = [tau * theirs + (1 - tau) * ours for theirs, ours in zip(before, student, strict=True)]
        for found, expected in zip(method.teacher.parameters(), before, strict=True):
            torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize(("tau", "same"), [(1.0, "before"), (0.0, "student")])
def test_the_ends_of_the_average(tau: float, same: str) -> None:
    method = build(CosineVSSL, tau=tau)
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    student = [*method.backbone.parameters(), *method.projector.parameters()]
    with torch.no_grad():
        for parameter in student:
            parameter.add_(1.0)
    method.after_step({}, 0)
    for found, expected in zip(method.teacher.parameters(), before if same == "before" else student, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("cls", [*TAUGHT, Supervised])
def test_swapped_views_have_the_same_loss(cls: type) -> None:
    method, given = build(cls), batch()
    swapped = {**given, "x": given["view"], "view": given["x"]}
    torch.testing.assert_close(method.loss(given)["loss"], method.loss(swapped)["loss"])


@pytest.mark.parametrize("cls", [GaussianVSSL, CosineVSSL])
def test_the_loss_compares_the_students_prediction_with_the_teachers_mean(cls: type) -> None:
    method, given = build(cls), batch()
    with torch.no_grad():
        method.projector.log_variance.weight.normal_()
        method.teacher[1].log_variance.bias.add_(0.3)
        total = torch.zeros(())
        for name, other in (("x", "view"), ("view", "x")):
            mean, logvar = method.projector(method.backbone(given[name]))
            to, to_logvar = method.teacher[1](method.teacher[0](given[other]))
            mean, to = (method.scaled(of) for of in (method.predictor(mean), to))
            squared = ((mean - to) ** 2).mean(1, keepdim=True) if cls is CosineVSSL else (mean - to) ** 2
            total += 0.5 * (likelihood("student", squared, logvar, to_logvar) + divergence(squared, logvar, to_logvar)).mean()
        torch.testing.assert_close(method.loss(given)["loss"], total, rtol=1e-4, atol=1e-5)


def test_variances_begin_at_one_stay_in_bounds_and_bounds_are_counted() -> None:
    for cls, width in ((GaussianVSSL, D), (CosineVSSL, 1)):
        method, x = build(cls), batch()["x"]
        seen = method.see(method.backbone(x))
        assert seen.spread.shape == (8, width) and not seen.spread.any() and method.watched(seen)["bounded"] == 0
        for shift, bound in ((50.0, MOST), (-100.0, LEAST)):
            with torch.no_grad():
                method.projector.log_variance.bias.add_(shift)
            seen = method.see(method.backbone(x))
            assert (seen.spread == bound).all() and method.watched(seen)["bounded"] == 1
        torch.testing.assert_close(method.uncertainty(x), torch.full((8,), math.exp(LEAST)))


def test_means_of_the_gaussian_form_cannot_shrink() -> None:
    """A learned variance rewards small means; their scale is that of the batch, whatever the head's."""
    method, x = build(GaussianVSSL), batch()["x"]
    method.projector.mean[1].eps = 1e-12  # the untrained backbone's features hardly differ
    before = method.see(method.backbone(x)).embedding
    with torch.no_grad():
        method.projector.mean[0].weight.mul_(1e-2)
        method.projector.mean[0].bias.mul_(1e-2)
    torch.testing.assert_close(before.var(0, correction=0), torch.ones(D), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(method.see(method.backbone(x)).embedding, before, rtol=1e-2, atol=1e-2)


def test_contrast_is_a_classification_of_the_batch() -> None:
    method, given = build(MoCoV3, temperature=0.5), batch()
    with torch.no_grad():
        total = torch.zeros(())
        for name, other in (("x", "view"), ("view", "x")):
            q = F.normalize(method.predictor(method.projector(method.backbone(given[name]))))
            k = F.normalize(method.teacher[1](method.teacher[0](given[other])))
            total += torch.stack([torch.logsumexp(k @ of / 0.5, 0) - of @ k[i] / 0.5 for i, of in enumerate(q)]).mean() / 2
        torch.testing.assert_close(method.loss(given)["loss"], 2 * 0.5 * total)


def test_the_reference_is_cross_entropy_of_both_views() -> None:
    method, given = build(Supervised), batch()
    expected = sum(F.cross_entropy(method.head(method.backbone(given[name])), given["y"]) for name in ("x", "view")) / 2
    torch.testing.assert_close(method.loss(given)["loss"], expected)
    torch.testing.assert_close(method.uncertainty(given["x"]), 1 - method.target(given["x"]).softmax(1).max(1).values)


def test_the_reference_has_no_option_of_heads_that_it_lacks() -> None:
    assert not {"latent_dim", "hidden"} & set(Supervised.Config.__dataclass_fields__)


def test_no_network_that_learns_without_classes_looks_at_them() -> None:
    for cls in TAUGHT:
        given = {name: value for name, value in batch().items() if name != "y"}
        assert build(cls).loss(given)["loss"].isfinite()
