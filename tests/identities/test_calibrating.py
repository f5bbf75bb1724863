"""Identities of methods that calibrate a classifier, in training or afterwards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.deep_ensemble import DeepEnsemble
from elboard.methods.bayesian.evidential import Evidential, divergence, expected_error
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.calibration.focal_loss import FocalLoss
from elboard.methods.calibration.label_smoothing import LabelSmoothing
from elboard.methods.calibration.mixup import Mixup
from elboard.methods.calibration.temperature_scaling import LARGEST, TemperatureScaling, best_temperature
from elboard.methods.dropout.mc_dropout import MCDropout
from elboard.methods.parts.classifier import ClassifierMethod

IDENTITIES = {
    "label-smoothing": ("test_without_smoothing_it_is_maximum_likelihood", "test_the_loss_is_cross_entropy_of_soft_targets"),
    "focal-loss": ("test_without_focus_it_is_maximum_likelihood", "test_the_gradient_is_that_of_cross_entropy_times_a_factor"),
    "mixup": ("test_without_mixing_it_is_maximum_likelihood", "test_the_loss_is_cross_entropy_of_mixed_targets"),
    "temperature-scaling": (
        "test_the_temperature_is_the_best_one",
        "test_scaled_logits_have_a_scaled_temperature",
        "test_what_is_most_probable_stays",
    ),
    "deep-ensemble": ("test_an_ensemble_of_one_is_its_member", "test_its_likelihood_is_at_least_the_members_geometric_mean"),
    "evidential": (
        "test_no_evidence_is_the_uniform_dirichlet",
        "test_the_error_is_that_of_draws",
        "test_the_divergence_is_that_of_torch",
        "test_evidence_for_the_label_is_not_regularised",
    ),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(12) % 4}


def build(cls: type, bases: dict | None = None, seed: int = 0, **options: object) -> ClassifierMethod:
    torch.manual_seed(seed)
    if issubclass(cls, ClassifierMethod):
        options = {"backbone": "mlp", **options}
    return cls(cls.Config(**options), SPEC, bases)


def gradient(method: ClassifierMethod) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.autograd.grad(method.loss(BATCH)["loss"], method.head.weight)[0]


def plain(cls: type, option: str) -> None:
    method, softmax = build(cls, **{option: 0.0}), build(Softmax)
    torch.testing.assert_close(method.loss(BATCH)["loss"], softmax.loss(BATCH)["loss"])
    torch.testing.assert_close(gradient(method), gradient(softmax))
    assert not torch.allclose(gradient(build(cls)), gradient(softmax), atol=1e-4), "with its default it is another loss"


def test_without_smoothing_it_is_maximum_likelihood() -> None:
    plain(LabelSmoothing, "smoothing")


def test_without_focus_it_is_maximum_likelihood() -> None:
    plain(FocalLoss, "gamma")


def test_without_mixing_it_is_maximum_likelihood() -> None:
    plain(Mixup, "alpha")


@pytest.mark.parametrize("eps", [0.1, 0.7, 1.0])
def test_the_loss_is_cross_entropy_of_soft_targets(eps: float) -> None:
    method = build(LabelSmoothing, smoothing=eps)
    log_p = torch.log_softmax(method(X).double(), 1)
    targets = (1 - eps) * F.one_hot(BATCH["y"], 4) + eps / 4
    torch.testing.assert_close(method.loss(BATCH)["loss"].double(), -(targets * log_p).sum(1).mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.loss(BATCH)["loss"], F.cross_entropy(method(X), BATCH["y"], label_smoothing=eps))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0, None])
def test_the_gradient_is_that_of_cross_entropy_times_a_factor(gamma: float | None) -> None:
    """Mukhoti et al. 2020, proposition 1: (1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p."""
    method = build(FocalLoss, **({"sample_dependent": True} if gamma is None else {"gamma": gamma}))
    logits = torch.tensor([[0.0, 0, 0, 0], [9.0, 0, 0, 0], [0.0, 3, 0, 0], [1.0, 0, 2, 0]]).repeat(3, 1).requires_grad_()
    method.forward = lambda x: logits
    (found,) = torch.autograd.grad(method.loss(BATCH)["loss"], logits)
    p = logits.detach().double().softmax(1)
    label = F.one_hot(BATCH["y"], 4)
    q = (p * label).sum(1)
    power = torch.where(q < 0.2, 5.0, 3.0) if gamma is None else torch.full((12,), gamma)
    factor = (1 - q) ** power - power * q * (1 - q) ** (power - 1) * q.log()
    torch.testing.assert_close(found.double(), factor[:, None] * (p - label) / 12, rtol=1e-4, atol=1e-7)


def test_certainty_has_a_finite_gradient() -> None:
    for gamma in (0.0, 0.5, 3.0):
        method, logits = build(FocalLoss, gamma=gamma), torch.full((12, 4), -1e4).scatter(1, BATCH["y"][:, None], 1e4).requires_grad_()
        method.forward = lambda x, logits=logits: logits
        (found,) = torch.autograd.grad(method.loss(BATCH)["loss"], logits)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("cls", [FocalLoss, LabelSmoothing])
def test_losses_of_logits_in_halves_are_computed_in_single_precision(cls: type) -> None:
    method = build(cls)
    with torch.no_grad():
        method.head.bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))  # a p so close to 1 that halves do not tell them apart
    with torch.autocast("cpu", torch.bfloat16):
        logits, found = method(X), method.loss(BATCH)
    method.forward = lambda x: logits.float()
    torch.testing.assert_close(found, method.loss(BATCH), rtol=1e-6, atol=0)


def test_the_loss_is_cross_entropy_of_mixed_targets() -> None:
    method = build(Mixup, alpha=1.0)
    torch.manual_seed(5)
    share, other = method.draw(X)
    assert 0 < share < 1 and sorted(other.tolist()) == list(range(12)) and other.tolist() != list(range(12))
    log_p = method(share * X + (1 - share) * X[other]).log_softmax(1)
    label = F.one_hot(BATCH["y"], 4).float()
    torch.manual_seed(5)
    torch.testing.assert_close(method.loss(BATCH)["loss"], -((share * label + (1 - share) * label[other]) * log_p).sum(1).mean())


def test_shares_are_of_the_beta_distribution() -> None:
    method = build(Mixup, alpha=0.2)
    torch.manual_seed(0)
    drawn = torch.stack([method.draw(X)[0] for _ in range(4000)])
    assert abs(drawn.mean() - 0.5) < 0.03 and abs(drawn.var() - 1 / (4 * 1.4)) < 0.01  # of Beta(a, a): 1 / (4 (2 a + 1))


def scaled(base: ClassifierMethod, valid: dict) -> TemperatureScaling:
    method = build(TemperatureScaling, {"classifier": base.eval()})
    method.fit(Data(SPEC, BATCH, valid), SimpleNamespace())
    return method


def test_the_temperature_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, y = 6 * torch.randn(500, 4, generator=generator), torch.randint(4, (500,), generator=generator)
    y = torch.where(torch.rand(500, generator=generator) < 0.6, logits.argmax(1), y)
    oracle = minimize_scalar(
        lambda t: F.cross_entropy(logits.double() / t, y).item(), bounds=(0.1, 50), method="bounded", options={"xatol": 1e-9}
    )
    assert best_temperature(logits, y) == pytest.approx(oracle.x, rel=1e-5)


def test_scaled_logits_have_a_scaled_temperature() -> None:
    base, valid = build(Softmax), {"x": X, "y": torch.tensor([0, 1, 2, 3, 0, 0, 1, 1, 2, 2, 3, 3])}
    logits = base(X).detach()
    y = logits.argmax(1).clone()
    y[::3] = valid["y"][::3]
    once = best_temperature(logits, y)
    assert 1 / LARGEST < once < LARGEST and best_temperature(5 * logits, y) == pytest.approx(5 * once, rel=1e-5)


def test_temperatures_end_where_none_is_the_best() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert best_temperature(logits, logits.argmax(1)) == 1 / LARGEST, "all are right"
    assert best_temperature(logits, logits.argmin(1)) == LARGEST, "all are wrong"


def test_what_is_most_probable_stays() -> None:
    base = build(Softmax, seed=1)
    method = scaled(base, BATCH)
    with torch.no_grad():
        p, q = base.predict(X)[0], method.predict(X)[0]
    assert torch.equal(p.argsort(1), q.argsort(1)) and not torch.allclose(p, q, atol=1e-3)
    torch.testing.assert_close(method.ood_score(X), 1 - q.max(1).values)
    t = float(method.temperature)
    assert F.nll_loss(q.log(), BATCH["y"]) < F.nll_loss(p.log(), BATCH["y"]) and t == pytest.approx(
        best_temperature(base(X).detach(), BATCH["y"]), rel=1e-6
    )
    with pytest.raises(UserError, match="MCDropout has no temperature"):
        build(TemperatureScaling, {"classifier": build(MCDropout)})


def ensemble(*members: ClassifierMethod) -> DeepEnsemble:
    return build(DeepEnsemble, {"members": [member.eval() for member in members]}, members=len(members))


def test_an_ensemble_of_one_is_its_member() -> None:
    member = build(Softmax)
    assert torch.equal(ensemble(member).predict(X, 16), member.predict(X, 16)) and not list(ensemble(member).parameters())


def test_its_likelihood_is_at_least_the_members_geometric_mean() -> None:
    members = [build(Softmax, seed=seed) for seed in range(3)]
    p = ensemble(*members).predict(X)
    assert p.shape == (3, 12, 4) and all(torch.equal(p[m], member.predict(X)[0]) for m, member in enumerate(members))
    geometric = torch.stack([member(X).log_softmax(1) for member in members]).mean(0)
    assert (p.mean(0).log() > geometric).all()
    drawn = ensemble(*(build(MCDropout, seed=seed) for seed in range(3))).predict(X, 16)
    assert drawn.shape == (15, 12, 4), "five draws of each"


@pytest.mark.parametrize("evidence", ["relu", "softplus", "exp"])
def test_no_evidence_is_the_uniform_dirichlet(evidence: str) -> None:
    method = build(Evidential, evidence=evidence)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.fill_(-40.0)
        torch.testing.assert_close(method.predict(X), torch.full((1, 12, 4), 0.25))
        torch.testing.assert_close(method.ood_score(X), torch.ones(12), atol=1e-4, rtol=0)
        out = method.loss(BATCH)
    torch.testing.assert_close(out["kl"], torch.zeros(()), atol=1e-6, rtol=0)
    torch.testing.assert_close(out["error"], torch.tensor((0.75**2 + 3 * 0.25**2) + 4 * 0.25 * 0.75 / 5))


def test_the_error_is_that_of_draws() -> None:
    alpha = torch.tensor([[1.0, 2.0, 7.0, 1.5], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    y = F.one_hot(torch.tensor([2, 0]), 4).double()
    torch.manual_seed(0)
    drawn = ((y - torch.distributions.Dirichlet(alpha).sample((40_000,))) ** 2).sum(2)
    error = drawn.std(0) / 200
    assert ((expected_error(alpha, y) - drawn.mean(0)).abs() < 4 * error).all() and (error < 0.003).all()


def test_the_divergence_is_that_of_torch() -> None:
    alpha = 1 + 20 * torch.rand(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    of_torch = torch.distributions.kl_divergence(
        torch.distributions.Dirichlet(alpha), torch.distributions.Dirichlet(torch.ones_like(alpha))
    )
    torch.testing.assert_close(divergence(alpha), of_torch)


def test_evidence_for_the_label_is_not_regularised() -> None:
    method = build(Evidential, anneal=0.0)
    logits = torch.full((12, 4), 2.0).requires_grad_()
    method.forward = lambda x: logits
    (found,) = torch.autograd.grad(method.loss(BATCH)["kl"], logits)
    label = F.one_hot(BATCH["y"], 4).bool()
    assert (found[label] == 0).all() and (found[~label] > 0).all()


def test_the_weight_of_the_divergence_grows() -> None:
    method = build(Evidential, anneal=0.5)
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)):
        method.progress = progress
        out = method.loss(BATCH)
        torch.testing.assert_close(out["loss"], out["error"] + weight * out["kl"])
