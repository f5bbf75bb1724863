"""What must hold exactly for estimators of mutual information: expectations over all batches of a small table, limits, bounds."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.information import PairsSpec
from elboard.methods.information.base import VariationalEstimator, apart, jensen_shannon, log_mean_exp
from elboard.methods.information.infonce import InfoNCE
from elboard.methods.information.js_nwj import JSNWJ
from elboard.methods.information.mine_dv import MINE
from elboard.methods.information.nwj import NWJ
from elboard.methods.information.smile import SMILE

IDENTITIES = {
    "smile": (
        "test_without_a_clip_smile_is_the_value_of_donsker_and_varadhan",
        "test_the_clip_is_in_the_partition_function_alone",
        "test_the_clip_has_no_part_in_training",
        "test_the_clipped_partition_function_has_a_bounded_variance",
    ),
    "nwj": ("test_with_the_optimal_critic_it_is_the_mutual_information_in_expectation",),
    "js-nwj": (
        "test_with_the_optimal_critic_it_is_the_mutual_information_in_expectation",
        "test_a_classifier_of_pairs_is_best_at_the_log_ratio",
    ),
    "infonce": ("test_infonce_is_at_most_the_logarithm_of_the_batch",),
    "mine-dv": (
        "test_without_an_average_the_gradient_is_that_of_the_bound",
        "test_the_average_is_that_of_the_batches_so_far",
        "test_a_constant_of_the_critic_is_of_no_account",
    ),
}
JOINT = torch.tensor([[0.30, 0.05, 0.02], [0.03, 0.20, 0.05], [0.01, 0.04, 0.30]], dtype=torch.float64)
RATIO = (JOINT / (JOINT.sum(1, keepdim=True) * JOINT.sum(0))).log()  # the optimal critic, a table
INFORMATION = float((JOINT * RATIO).sum())


def build(cls: type[VariationalEstimator], laws: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(hidden=8, layers=1, embed=4, **options), PairsSpec((3,), 10, other=(2,), laws=laws)).double()


def all_batches(critic: Tensor, n: int = 2) -> tuple[Tensor, Tensor]:
    """Scores ``(K, n, n)`` of every batch of n pairs of the table, and their probabilities."""
    pairs = list(itertools.product(range(3), repeat=2))
    drawn = torch.tensor(list(itertools.product(pairs, repeat=n)))  # (K, n, 2)
    x, y = drawn.unbind(-1)
    return critic[x[:, :, None], y[:, None]], JOINT[x, y].prod(1)


def some_scores(scale: float = 3.0, n: int = 5) -> Tensor:
    return scale * torch.randn(4, n, n, generator=torch.Generator().manual_seed(1)).double()


def gradient(method: Any, scores: Tensor) -> Tensor:
    at = scores.clone().requires_grad_()
    return torch.autograd.grad(method.objective(at).sum(), at)[0]


@pytest.mark.parametrize("cls", [NWJ, JSNWJ])
def test_with_the_optimal_critic_it_is_the_mutual_information_in_expectation(cls: type[VariationalEstimator]) -> None:
    scores, p = all_batches(RATIO)
    assert float(p @ build(cls).value(scores)) == pytest.approx(INFORMATION, abs=1e-12)
    for shift in (-0.3, 0.2):  # and less with any other
        assert float(p @ build(cls).value(scores + shift)) < INFORMATION


def test_the_variance_of_nwj_grows_as_the_exponential_of_the_information() -> None:
    """n Var of E_Q e^T from n pairs of Q is chi^2(P || Q) at the optimal critic, which is at least e^KL - 1."""
    q = JOINT.sum(1, keepdim=True) * JOINT.sum(0)
    chi = float((q * (RATIO.exp() - 1).square()).sum())
    assert chi == pytest.approx(float((JOINT**2 / q).sum()) - 1) and chi >= math.expm1(INFORMATION)


def test_a_classifier_of_pairs_is_best_at_the_log_ratio() -> None:
    table = RATIO.clone().requires_grad_()
    scores, p = all_batches(table)
    assert (torch.autograd.grad(p @ build(JSNWJ).objective(scores), table)[0].abs() < 1e-15).all()
    scores, p = all_batches(RATIO)
    best = float(p @ jensen_shannon(scores))
    assert best > float(p @ jensen_shannon(all_batches(RATIO + 0.1)[0]))


@pytest.mark.parametrize("n", [2, 5, 64])
def test_infonce_is_at_most_the_logarithm_of_the_batch(n: int) -> None:
    method, scores = build(InfoNCE), some_scores(10.0, n)
    assert (method.value(scores) <= math.log(n)).all()
    sure = scores + 1e4 * torch.eye(n).double()
    assert torch.allclose(method.value(sure), torch.full((4,), math.log(n)).double(), atol=1e-12)
    rows = scores + torch.randn(4, n, 1, generator=torch.Generator().manual_seed(2)).double()
    assert torch.allclose(method.value(rows), method.value(scores)), "c(x) is of no account"


def test_infonce_is_a_lower_bound_in_expectation() -> None:
    for critic in (RATIO, 2 * RATIO, torch.zeros(3, 3).double()):
        scores, p = all_batches(critic, 3)
        assert float(p @ build(InfoNCE).value(scores)) <= INFORMATION


def test_without_a_clip_smile_is_the_value_of_donsker_and_varadhan() -> None:
    scores = some_scores()
    others = torch.stack([of[~torch.eye(5, dtype=torch.bool)] for of in scores])  # the diagonal is no pair of Q
    torch.testing.assert_close(apart(scores), others)
    expected = scores.diagonal(dim1=1, dim2=2).mean(1) - others.exp().mean(1).log()
    torch.testing.assert_close(build(MINE).value(scores), expected)
    torch.testing.assert_close(build(SMILE, tau=0.0).value(scores), build(MINE).value(scores), rtol=0, atol=0)
    torch.testing.assert_close(build(SMILE, tau=100.0).value(scores), expected)


def test_the_clip_is_in_the_partition_function_alone() -> None:
    scores, eye = some_scores(), torch.eye(5).double()
    expected = scores.diagonal(dim1=1, dim2=2).mean(1) - torch.stack([of[~eye.bool()].clamp(-1, 1).exp().mean().log() for of in scores])
    method = build(SMILE, tau=1.0)
    torch.testing.assert_close(method.value(scores), expected)
    torch.testing.assert_close(method.value(scores + 7 * eye), expected + 7)  # the first term has none


def test_the_clip_has_no_part_in_training() -> None:
    scores = some_scores()
    for tau in (0.0, 1.0, 5.0):
        torch.testing.assert_close(gradient(build(SMILE, tau=tau), scores), gradient(build(JSNWJ), scores), rtol=0, atol=0)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_the_clipped_partition_function_has_a_bounded_variance(tau: float) -> None:
    """(e^tau - e^-tau)^2 / (4 n), attained by a critic that is at both ends half of the time."""
    n = 1000
    ends = tau * (2 * torch.randint(2, (4000, n), generator=torch.Generator().manual_seed(0)) - 1).double()
    for scale in (1.0, 50.0):
        clipped = log_mean_exp((scale * ends).clamp(-tau, tau)).exp()
        assert float(clipped.var()) == pytest.approx((math.exp(tau) - math.exp(-tau)) ** 2 / (4 * n), rel=0.1)
    loose = log_mean_exp((3 * torch.randn(4000, n, generator=torch.Generator().manual_seed(1)).double()).clamp(-tau, tau)).exp()
    assert float(loose.var()) < (math.exp(tau) - math.exp(-tau)) ** 2 / (4 * n)


def test_smile_bounds_from_no_side() -> None:
    """With a clip the estimate of a good critic is above the information where that is large."""
    scores, p = all_batches(4 * RATIO)
    assert float(p @ build(SMILE, tau=0.1).value(scores)) > INFORMATION
    scores, p = all_batches(0 * RATIO)
    assert float(p @ build(SMILE, tau=0.1).value(scores)) < INFORMATION


def test_a_constant_of_the_critic_is_of_no_account() -> None:
    scores = some_scores()
    torch.testing.assert_close(build(MINE).value(scores + 3), build(MINE).value(scores))


def test_without_an_average_the_gradient_is_that_of_the_bound() -> None:
    scores = some_scores(n=5)[:2]
    for method in (build(MINE), build(MINE, average=0.0)):
        at = scores.clone().requires_grad_()
        torch.testing.assert_close(gradient(method, scores), torch.autograd.grad(method.value(at).sum(), at)[0])


def test_the_average_is_that_of_the_batches_so_far() -> None:
    method = build(MINE, average=0.75)
    method._trainer = SimpleNamespace(num_training_batches=3, current_epoch=0, max_epochs=1)
    batches, total, weights = [], 0.0, 0.0
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        batches.append({name: torch.randn(2, 4, width, generator=generator).double() for name, width in (("x", 3), ("y", 2))})
        scores = method.critics(batches[i]["x"], batches[i]["y"]).detach()
        method.on_train_batch_start(batches[i], i)
        total, weights = 0.75 * total + 0.25 * apart(scores).exp().mean(1), 0.75 * weights + 0.25
        at = scores.clone().requires_grad_()
        surrogate = at.diagonal(dim1=1, dim2=2).mean(1) - apart(at).exp().mean(1) / (total / weights)
        torch.testing.assert_close(gradient(method, scores), torch.autograd.grad(surrogate.sum(), at)[0])


@pytest.mark.parametrize("critic", ["separable", "concatenated"])
def test_scores_are_of_all_pairs_and_each_law_has_its_own_critic(critic: str) -> None:
    method = build(NWJ, critic=critic)
    x, y = torch.randn(2, 4, 3).double(), torch.randn(2, 4, 2).double()
    scores = method.critics(x, y)
    for i, j in itertools.product(range(4), repeat=2):
        torch.testing.assert_close(method.critics(x[:, i : i + 1], y[:, j : j + 1])[:, 0, 0], scores[:, i, j])
    only = torch.autograd.grad(method.value(scores)[0], list(method.parameters()))
    assert all(not of[1].any() for of in only) and any(of[0].any() for of in only)
