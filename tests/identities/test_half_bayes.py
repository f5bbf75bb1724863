"""What must hold exactly of the information bottleneck and of what it is compared with on labels of a known teacher."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_normal
from torch.distributions import Normal, kl_divergence

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.teacher import ManyLabels, TaughtSpec
from elboard.methods.bayesian.bayes_by_backprop import BayesByBackprop
from elboard.methods.bayesian.soft_labels import SoftLabels
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.bayesian.vib import VIB
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.tasks.noisy.teacher import LABELS, Teacher, teacher

IDENTITIES = {
    "vib": (
        "test_without_noise_and_rate_it_is_maximum_likelihood",
        "test_the_rate_is_torchs",
        "test_a_code_that_is_the_prior_costs_nothing_and_tells_nothing",
        "test_the_best_code_of_a_linear_gaussian_decoder_is_the_posterior",
    ),
    "soft-labels": ("test_equal_labels_are_one_label", "test_several_labels_are_the_mean_of_their_likelihoods"),
    "bayes-by-backprop": ("test_the_kl_is_torchs", "test_without_variance_it_is_the_network", "test_the_best_posterior_has_the_evidence"),
}
SPEC = TaughtSpec((1, 8, 8), 50, n_classes=4, labels=3)
N = 12


def build(of: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return of(of.Config(backbone="mlp", **options), SPEC)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (N, 3), generator=generator)
    return {"x": torch.rand(N, 1, 8, 8, generator=generator), "labels": labels, "y": labels[:, 0]}


def test_without_noise_and_rate_it_is_maximum_likelihood() -> None:
    """beta = 0 and a code variance of nearly 0: value and gradient are those of the composed network."""
    method, seen = build(VIB, beta=0.0, noise=1e-9), batch()
    loss = method.loss(seen)["loss"]
    mean = method.encoder(method.features(seen["x"]))[:, :32]
    expected = F.cross_entropy(method.head(mean), seen["y"])
    torch.testing.assert_close(method(seen["x"]), method.head(mean))
    torch.testing.assert_close(loss, expected)
    weights = list(method.parameters())
    for a, b in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(a, b)


def test_the_rate_is_torchs() -> None:
    method, seen = build(VIB, beta=0.3), batch()
    mean, sigma = method.encode(seen["x"])
    expected = kl_divergence(Normal(mean, sigma), Normal(torch.zeros(()), torch.ones(()))).sum(1).mean()
    out = method.loss(seen)
    torch.testing.assert_close(out["rate"], expected)
    torch.testing.assert_close(out["loss"], out["error"] + 0.3 * expected)
    assert torch.allclose(sigma, F.softplus(method.encoder(method.features(seen["x"]))[:, 32:] - 5))


def test_a_code_that_is_the_prior_costs_nothing_and_tells_nothing() -> None:
    """e = r for every input: the rate is 0, and one code gives one prediction whatever the input is."""
    method, seen = build(VIB), batch()
    with torch.no_grad():
        method.encoder.weight.zero_()
        method.encoder.bias[:32], method.encoder.bias[32:] = 0.0, 5 + math.log(math.e - 1)  # softplus of what is above 5 is 1
    assert abs(method.loss(seen)["rate"].item()) < 1e-5
    torch.manual_seed(1)
    p = method.predict(seen["x"], 4000).mean(0)
    assert (p - p.mean(0)).abs().max() < 0.02


def test_codes_have_the_moments_of_the_encoder() -> None:
    """Where ``predict`` draws: a code of its own for each sample and input."""
    method, seen, codes = build(VIB, noise=0.5), batch(), []
    method.head.register_forward_hook(lambda module, given, out: codes.append(given[0].detach()))
    p = method.predict(seen["x"], 5000)
    (z,) = codes
    assert p.shape == (5000, N, 4) and z.shape == (5000, N, 32)
    torch.testing.assert_close(z.mean(0), method.encode(seen["x"])[0].detach(), atol=0.05, rtol=0)
    assert z.std(0).sub(0.5).abs().max() < 0.03 and np.corrcoef(z[:, 0, 0], z[:, 1, 0])[0, 1] == pytest.approx(0, abs=0.06)


def test_the_best_code_of_a_linear_gaussian_decoder_is_the_posterior() -> None:
    """q(y|z) = N(w z, s^2), beta = 1: the objective with the rate of the method, at the conjugate posterior, is -log N(y; 0, s^2 + w^2)."""
    w, s, y = 1.3, 0.7, 0.4

    def objective(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        error = 0.5 * math.log(2 * math.pi * s**2) + ((y - w * mean) ** 2 + w**2 * variance).sum() / (2 * s**2)
        return error + kl_to_standard_normal(mean, variance.log())

    variance = torch.tensor([1 / (1 + w**2 / s**2)], dtype=torch.float64)
    mean = variance * w * y / s**2
    least = -Normal(0.0, math.sqrt(s**2 + w**2)).log_prob(torch.tensor(y, dtype=torch.float64))
    torch.testing.assert_close(objective(mean, variance), least)
    assert all(objective(mean + a, variance * b) > least for a, b in ((0.1, 1), (-0.1, 1), (0, 1.2), (0, 0.8)))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_best_code_of_finitely_many_has_the_local_evidence(beta: float) -> None:
    """Of E_e[-log q(y|z)] + beta KL(e || r) over K states: at beta = 1 the minimum is minus the log of the marginal likelihood."""
    rng = np.random.default_rng(0)
    r, q = rng.dirichlet(np.ones(5)), rng.uniform(0.05, 1, 5)

    def objective(e: np.ndarray) -> float:
        return float((e * (-np.log(q) + beta * np.log(e / r))).sum())

    best = r * q ** (1 / beta)
    minimum = -beta * math.log(best.sum())
    assert objective(best / best.sum()) == pytest.approx(minimum, abs=1e-10)
    assert all(objective(rng.dirichlet(np.ones(5))) > minimum for _ in range(50))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("m", [1, 2])
def test_the_bound_of_the_risk_over_labels_holds(gamma: float, m: int) -> None:
    """All label sets of one input, K = 5 states, arbitrary codes that see the labels: the right side minus the left is never negative."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        nu, q, r = rng.dirichlet(np.ones(2)), rng.uniform(0.05, 0.95, 5), rng.dirichlet(np.ones(5))
        losses = -np.log(np.stack([q, 1 - q]))  # (label, state)
        risk, left, right, inner = nu @ losses, 0.0, 0.0, np.zeros(5)
        for drawn in np.ndindex(*(2,) * m):
            p, mean, e = np.prod(nu[list(drawn)]), losses[list(drawn)].mean(0), rng.dirichlet(np.ones(5))
            left += p * (e @ risk)
            right += p * (e @ mean + (e * np.log(e / r)).sum() / (gamma * m))
            inner += p * np.exp(gamma * m * (risk - mean))
        assert right + np.log(r @ inner) / (gamma * m) - left >= -1e-12


def test_equal_labels_are_one_label() -> None:
    several, plain, seen = build(SoftLabels, labels=3, smoothing=0.0), build(Softmax), batch()
    plain.load_state_dict(several.state_dict())
    seen["labels"] = seen["y"][:, None].expand(-1, 3)
    torch.testing.assert_close(several.loss(seen)["loss"], plain.loss(seen)["loss"])


def test_several_labels_are_the_mean_of_their_likelihoods() -> None:
    seen = batch()
    for method in (build(SoftLabels, labels=3, smoothing=0.0), build(VIB, labels=3, beta=0.0, noise=1e-9)):
        logits = method(seen["x"]) if isinstance(method, SoftLabels) else method.head(method.encode(seen["x"])[0])
        each = torch.stack([F.cross_entropy(logits, seen["labels"][:, m]) for m in range(3)])
        torch.testing.assert_close(method.loss(seen)["loss"], each.mean())
    smooth = build(SoftLabels)
    expected = F.cross_entropy(smooth(seen["x"]), seen["y"], label_smoothing=0.1)
    torch.testing.assert_close(smooth.loss(seen)["loss"], expected)


def test_more_labels_than_there_are() -> None:
    with pytest.raises(UserError, match="have 1 for each"):
        VIB(VIB.Config(backbone="mlp", labels=2), ClassSpec((1, 8, 8), 50, n_classes=4))


def test_the_kl_is_torchs() -> None:
    method, seen = build(BayesByBackprop, prior_sd=0.7, gamma=2.0), batch()
    expected = sum(
        kl_divergence(Normal(mean, sd), Normal(torch.zeros(()), torch.full((), 0.7))).sum() for _, mean, sd in method._posterior()
    )
    out = method.loss(seen)
    torch.testing.assert_close(out["kl"], expected)
    torch.testing.assert_close(out["loss"], out["error"] + expected / (2.0 * 50))


def test_the_best_posterior_has_the_evidence() -> None:
    """Linear regression with one weight, gamma = 1: N times the objective at the exact posterior is -log p(y | x)."""
    x, y = (np.random.default_rng(seed).normal(size=20) for seed in (0, 1))
    s, prior = 0.8, 0.7
    method = build(BayesByBackprop, prior_sd=prior)
    variance = 1 / (1 / prior**2 + (x @ x) / s**2)
    mean = variance * (x @ y) / s**2
    method._posterior = lambda: [("w", torch.tensor([mean]), torch.tensor([variance]).sqrt())]
    error = 0.5 * 20 * math.log(2 * math.pi * s**2) + (((y - mean * x) ** 2).sum() + variance * (x @ x)) / (2 * s**2)
    evidence = multivariate_normal(np.zeros(20), s**2 * np.eye(20) + prior**2 * np.outer(x, x)).logpdf(y)
    assert error + method.kl().item() == pytest.approx(-evidence, abs=1e-9)


def test_draws_of_weights_have_the_moments_of_the_posterior() -> None:
    method = build(BayesByBackprop, rho=0.0)
    drawn = torch.stack([method.draw()["head.weight"].detach() for _ in range(2000)])
    torch.testing.assert_close(drawn.mean(0), method.head.weight.detach(), atol=0.08, rtol=0)
    assert drawn.std(0).sub(math.log(2)).abs().max() < 0.06


def test_without_variance_it_is_the_network() -> None:
    method, seen = build(BayesByBackprop, rho=-40.0), batch()
    torch.testing.assert_close(method.predict(seen["x"], 2), method(seen["x"]).softmax(1).expand(2, -1, -1))
    torch.testing.assert_close(method.loss(seen)["error"], F.cross_entropy(method(seen["x"]), seen["y"]))


# --- the task ---------------------------------------------------------------------------------------------


def task(seed: int = 0, **options: Any) -> Teacher:
    return Teacher(Teacher.Config(**options), "lite", seed)


def test_labels_are_the_teachers_and_seeds_draw_other_inputs() -> None:
    made, other = task(n_train=3000), task(1)
    part = made._part("train", 3000)
    nu = teacher(part["u"].numpy())
    found = (part["labels"].numpy()[..., None] == np.arange(4)).mean(1)
    assert np.abs(found.mean(0) - nu.mean(0)).max() < 0.01
    assert (((found - nu) ** 2).sum(1) * LABELS / (1 - (nu**2).sum(1))).mean() == pytest.approx(1, abs=0.1)  # their variance
    assert not torch.equal(made._part("test", 50)["x"], other._part("test", 50)["x"])
    assert not torch.equal(made._part("train", 50)["x"], other._part("train", 50)["x"])
    assert (part["x"].amax((1, 2, 3)) <= 1).all() and part["x"].shape == (3000, 1, 8, 8)


def test_gaps_add_up_and_the_teacher_has_no_excess() -> None:
    made = task()
    data = made.load_train()
    test = made.load_test(data)
    known = {id(data.train["x"]): test["train_u"], id(test["x"]): test["u"]}
    truth = SimpleNamespace(predict=lambda x, n: torch.from_numpy(teacher(known[id(x)].numpy())).float()[None])
    for method in (truth, OfFiveLabels()):
        observed = made.observe(method, data, test, []).arrays
        found = Teacher.score(observed)
        labels = data.train["labels"][:, : 1 if method is truth else 5].numpy()
        p = observed["train_p"].astype(np.float64)
        training = -np.log(np.take_along_axis(p, labels, axis=1)).mean()
        assert found["label_gap"] + found["input_gap"] + training == pytest.approx(found["expected_nll"], abs=1e-9)
        assert Teacher.score(Teacher.compact(observed)) == pytest.approx(found, abs=1e-9)
        assert sum(array.nbytes for array in Teacher.compact(observed).values()) <= 16 * 1024
        if method is truth:
            assert abs(found["excess_nll"]) < 1e-6 and abs(found["label_gap"]) < 0.2
            assert abs(found["gap_ratio_log"]) < 10 and found["expected_nll"] == pytest.approx(entropy(test), abs=1e-6)


class OfFiveLabels(ManyLabels):
    def labels_learned(self) -> int:
        return 5

    def predict(self, x: torch.Tensor, n: int) -> torch.Tensor:
        return (3 * torch.rand(1, len(x), 4)).softmax(2)


def entropy(test: dict[str, Any]) -> float:
    nu = teacher(test["u"].numpy())
    return float(-(nu * np.log(nu)).sum(1).mean())


def test_probabilities_are_averaged() -> None:
    p = torch.rand(3, 5, 4).softmax(2)
    assert np.allclose(task().probabilities(SimpleNamespace(predict=lambda x, n: p), torch.zeros(5, 1, 8, 8)), p.mean(0))
