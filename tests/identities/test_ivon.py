"""Identities of IVON: the optimiser against NumPy and exact posteriors, the classifier's draws, resumption."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from elboard.bench import training
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.posterior import TargetSpec
from elboard.bench.run import execute
from elboard.methods.bayesian.ivon import VariationalClassifier
from elboard.methods.bayesian.ivon_density import IVONDensity
from elboard.methods.bayesian.ivon_optimizer import IVON

IDENTITIES = {
    "ivon": (
        "test_linear_regression_has_the_exact_mean_field_posterior",
        "test_three_steps_by_hand",
        "test_draws_have_the_posteriors_moments_and_leave_the_mean_alone",
    ),
    "ivon-density": (
        "test_of_independent_coordinates_the_posterior_is_exact",
        "test_of_correlated_coordinates_h_is_the_diagonal_of_the_hessian",
    ),
}

SPEC = ClassSpec((1, 8, 8), 500, n_classes=4)


def build(**options: object) -> VariationalClassifier:
    torch.manual_seed(0)
    return VariationalClassifier(VariationalClassifier.Config(**({"backbone": "mlp"} | options)), SPEC).eval()


def regression(n: int = 200, d: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(n, d, dtype=torch.float64) * torch.linspace(0.5, 2, d, dtype=torch.float64)
    x[:, 1] += 0.5 * x[:, 0]  # correlated: the mean-field posterior is narrower than the marginals of the exact one
    return x, x @ torch.randn(d, dtype=torch.float64) + torch.randn(n, dtype=torch.float64)


def closure_of(optimizer: IVON, loss, seen: list | None = None):
    parameters = optimizer.param_groups[0]["params"]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        if seen is not None:
            seen.append([torch.cat([t.detach().flatten().clone() for t in part]) for part in (parameters, [p.grad for p in parameters])])
        return value

    return closure


@pytest.mark.parametrize("samples", [1, 2])
def test_linear_regression_has_the_exact_mean_field_posterior(samples: int) -> None:
    """sigma^2 = 1 / (N (diag H + delta)) with H = X^T X / N, and m is the ridge solution with penalty N delta."""
    x, y = regression()
    n, d = x.shape
    delta = 0.05
    w = torch.zeros(d, dtype=torch.float64, requires_grad=True)
    optimizer = IVON([w], lr=0.1, ess=n, weight_decay=delta, betas=(0.9, 1 - 0.002 * samples), h0=1.0, samples=samples)
    closure = closure_of(optimizer, lambda: 0.5 * (x @ w - y).square().mean())
    steps, variances = 4000 // samples, []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        optimizer.step(closure)
        if step >= steps // 2:
            variances.append(1 / optimizer.precision)
    exact = 1 / (n * (x.square().mean(0) + delta))
    np.testing.assert_allclose(torch.stack(variances).mean(0), exact, rtol=0.1)
    ridge = torch.linalg.solve(x.T @ x / n + delta * torch.eye(d), x.T @ y / n)
    np.testing.assert_allclose(w.detach(), ridge, atol=0.02)
    assert (ridge - torch.linalg.solve(x.T @ x, x.T @ y)).abs().max() > 0.05, "the prior must show in the test"


@pytest.mark.parametrize("samples", [1, 2])
def test_three_steps_by_hand(samples: int) -> None:
    """Algorithm 1 in NumPy, given the perturbed weights and gradients that the closure saw."""
    x, y = regression(20, 3)
    a, b = torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([[0.7]], dtype=torch.float64)
    parameters = [a.requires_grad_(), b.requires_grad_()]
    lr, lam, delta, b1, b2, h0 = 0.3, 40.0, 0.1, 0.8, 0.9, 0.5
    optimizer = IVON(parameters, lr, lam, delta, (b1, b2), h0, samples=samples)
    seen: list = []
    closure = closure_of(optimizer, lambda: (x @ torch.cat([a, b[0]]) - y).cosh().log().mean(), seen)
    m, g, h = np.array([0.3, -0.2, 0.7]), np.zeros(3), np.full(3, h0)
    noise = []
    for t in (1, 2, 3):
        optimizer.step(closure)
        theta, grads = (np.array([row[i].numpy() for row in seen[-samples:]]) for i in (0, 1))
        sigma2 = 1 / (lam * (h + delta))
        noise.append((theta - m) / np.sqrt(sigma2))
        g_hat, h_hat = grads.mean(0), (grads * (theta - m) / sigma2).mean(0)
        g = b1 * g + (1 - b1) * g_hat
        h = b2 * h + (1 - b2) * h_hat + 0.5 * (1 - b2) ** 2 * (h - h_hat) ** 2 / (h + delta)
        m = m - lr * (h0 + delta) * (g / (1 - b1**t) + delta * m) / (h + delta)
        np.testing.assert_allclose(torch.cat([a, b[0]]).detach(), m, atol=1e-12)
        np.testing.assert_allclose(optimizer.precision, lam * (h + delta), rtol=1e-10)
    noise = np.concatenate(noise).ravel()
    assert len(set(noise)) == len(noise) and abs(noise.mean()) < 1 and 0.3 < noise.std() < 2


def test_parameters_are_put_back_exactly() -> None:
    w = torch.randn(1000, requires_grad=True)
    before = w.detach().clone()
    seen: list = []
    optimizer = IVON([w], lr=0.0, ess=10, weight_decay=0.1, h0=0.01, samples=3)
    optimizer.step(closure_of(optimizer, lambda: w.square().sum(), seen))
    assert torch.equal(w, before) and len(seen) == 3 and not any(torch.equal(theta, before) for theta, _ in seen)

    def broken() -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(broken)
    assert torch.equal(w, before)


def test_the_noise_has_the_current_variance() -> None:
    w = torch.zeros(20_000, requires_grad=True)
    optimizer = IVON([w], lr=0.1, ess=50, weight_decay=0.1, h0=0.3)
    optimizer.state[w]["h"][:10_000] = 4.0
    seen: list = []
    optimizer.step(closure_of(optimizer, lambda: 0.0 * w.sum(), seen))
    theta = seen[0][0]
    for part, h in ((theta[:10_000], 4.0), (theta[10_000:], 0.3)):
        assert part.std().item() == pytest.approx((50 * (h + 0.1)) ** -0.5, rel=0.03)


@pytest.mark.parametrize("beta2", [0.0, 0.5, 0.99])
def test_precision_stays_positive_whatever_the_hessian_estimate(beta2: float) -> None:
    for scale in (0.05, 1.0, 1e3):
        w = torch.ones(500, requires_grad=True)
        optimizer = IVON([w], lr=0.0, ess=100, weight_decay=0.01, betas=(0.9, beta2), h0=1.0)
        for _ in range(3):
            before = optimizer.precision.clone()
            optimizer.step(closure_of(optimizer, lambda w=w, scale=scale: scale * w.sum()))  # the estimates have both signs
            assert (optimizer.precision >= 0.499 * before).all()
            assert scale > 0.05 or (optimizer.precision < before).any()


def test_radius_bounds_the_update() -> None:
    w = torch.zeros(3, requires_grad=True)
    optimizer = IVON([w], lr=0.5, ess=100, weight_decay=0.1, h0=0.4, radius=0.2)
    optimizer.step(closure_of(optimizer, lambda: (1000 * w * torch.tensor([1.0, -1.0, 0.0])).sum()))
    np.testing.assert_allclose(w.detach(), 0.5 * 0.5 * 0.2 * np.array([-1.0, 1.0, 0.0]), atol=1e-7)


def test_state_travels_in_plain_tensors_and_numbers(tmp_path: Path) -> None:
    x, y = regression(30, 4)

    def fresh() -> tuple[torch.Tensor, IVON]:
        w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        return w, IVON([w], lr=0.1, ess=30, weight_decay=0.01, betas=(0.9, 0.99), h0=0.5, seed=3)

    def advance(w: torch.Tensor, optimizer: IVON, steps: int) -> None:
        for _ in range(steps):
            optimizer.step(closure_of(optimizer, lambda: (x @ w - y).square().mean()))

    whole, first, second = fresh(), fresh(), fresh()
    advance(*whole, 7)
    advance(*first, 4)
    torch.save({"w": first[0].detach(), "optimizer": first[1].state_dict()}, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)
    second[0].data.copy_(saved["w"])
    second[1].load_state_dict(saved["optimizer"])
    torch.manual_seed(9)  # the noise does not come from the global state
    advance(*second, 3)
    assert torch.equal(second[0], whole[0]) and torch.equal(second[1].precision, whole[1].precision)


def test_wrong_use_is_an_error() -> None:
    w = torch.zeros(3, requires_grad=True)
    with pytest.raises(UserError, match="bf16-mixed"):
        IVON([w], lr=0.1, ess=10, weight_decay=0.1).step()
    with pytest.raises(ValueError, match="positive"):
        IVON([w], lr=0.1, ess=10, weight_decay=0.0)
    with pytest.raises(ValueError, match="one group"):
        IVON([{"params": [w]}, {"params": [w.clone().detach().requires_grad_()]}], lr=0.1, ess=10, weight_decay=0.1)
    for options in ({"optimizer": "sgd"}, {"h0": 0.0}, {"samples": 0}, {"ess": -1.0}):
        with pytest.raises(UserError):
            build(**options)


# --- the classifier --------------------------------------------------------------------------------


def test_a_cold_posterior_predicts_like_the_mean() -> None:
    x = torch.randn(5, 1, 8, 8)
    cold, mean = build(ess=1e30), build(mean=True)
    torch.testing.assert_close(cold.predict(x, 3), mean.predict(x, 3).expand(3, -1, -1))
    assert mean.predict(x, 3).shape == (1, 5, 4)
    torch.testing.assert_close(mean.predict(x)[0], mean(x).softmax(1))


def test_draws_have_the_posteriors_moments_and_leave_the_mean_alone() -> None:
    method = build()
    method.precision.copy_(torch.linspace(1, 100, len(method.precision)))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    p = method.predict(torch.randn(5, 1, 8, 8), 3)
    assert p.shape == (3, 5, 4) and not torch.equal(p[0], p[1])
    flat = torch.cat([part.detach().flatten() for part in method.draw().values()])
    mean = torch.cat([part.detach().flatten() for part in method.parameters()])
    standard = (flat - mean) * method.precision.sqrt()
    assert abs(standard.mean()) < 0.02 and standard.std() == pytest.approx(1, abs=0.02)
    assert standard[-2000:].std() == pytest.approx(1, abs=0.1) and standard[:2000].std() == pytest.approx(1, abs=0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())


def test_ess_is_the_number_of_training_examples_and_reaches_the_optimizer() -> None:
    method = build(h0=0.2, weight_decay=0.05)
    assert torch.equal(method.precision, torch.full_like(method.precision, 500 * 0.25))
    torch.testing.assert_close(method.make_optimizer(method.parameter_groups()).precision, method.precision)


def test_validation_sees_the_posterior_of_its_epoch_and_a_resumed_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    overrides = {"trainer.accelerator": "cpu", "train.epochs": 4, "beta2": 0.9, "backbone": "mlp", "samples": 2, "train.keep": "best"}
    spec = resolve("calibration/mnist", "ivon", budget="smoke", overrides=overrides)
    seen: list = []
    current = VariationalClassifier.predict

    def predict(self: VariationalClassifier, x: torch.Tensor, n_samples: int = 1) -> torch.Tensor:
        if getattr(self, "_trainer", None) is not None and self.progress < 1:
            seen.append(torch.equal(self.precision, self.trainer.optimizers[0].precision))
        return current(self, x, n_samples)

    monkeypatch.setattr(VariationalClassifier, "predict", predict)
    whole = execute(spec, tmp_path / "whole")
    assert whole.status == "done" and len(seen) >= 4 and all(seen)

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2 and "epochs" in event:
            raise RuntimeError("stop")

    assert execute(spec, tmp_path / "broken", report=stop).status == "failed"
    resumed = execute(spec, tmp_path / "broken")
    assert resumed.metrics == whole.metrics and resumed.notes == whole.notes
    curves = [(tmp_path / name / spec.key / "curves.jsonl").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]


# --- the density -----------------------------------------------------------------------------------


def fitted(hessian: torch.Tensor, mode: torch.Tensor, steps: int = 4000, **options: object) -> IVONDensity:
    """After ``steps`` on a Gaussian density, at a rate that falls to nothing; in double precision."""
    made = IVONDensity(IVONDensity.Config(**options), TargetSpec((len(mode),), 1)).double()
    log_prob = lambda z: -0.5 * (((z - mode) @ hessian) * (z - mode)).sum(1)  # noqa: E731
    made.prepare(SimpleNamespace(oracle=SimpleNamespace(log_prob=log_prob)))
    optimizer = made.make_optimizer([{"params": list(made.parameters())}])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = made.loss({})["loss"]
        value.backward()
        return value

    for step in range(steps):
        optimizer.param_groups[0]["lr"] = made.config.lr * (1 - step / steps)
        optimizer.step(closure)
    made.__dict__["_trainer"] = SimpleNamespace(optimizers=[optimizer])
    made.before_validation()
    return made


def test_of_independent_coordinates_the_posterior_is_exact() -> None:
    """Mode and variances; a prior of its own adds delta to the precision and draws the mode towards nothing."""
    hessian, mode = torch.tensor([4.0, 1.0], dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64)
    for delta in (1e-6, 2.0):
        made = fitted(hessian.diag(), mode, weight_decay=delta)
        np.testing.assert_allclose(made.precision, hessian + delta, rtol=0.12)
        np.testing.assert_allclose(made.mean.detach(), hessian * mode / (hessian + delta), atol=0.08)


def test_of_correlated_coordinates_h_is_the_diagonal_of_the_hessian() -> None:
    """Not its spectrum nor the inverse of the marginal variances, which are 10 and 0.53, and 1."""
    hessian = torch.linalg.inv(torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64))
    made = fitted(hessian, torch.zeros(2, dtype=torch.float64), 6000)
    np.testing.assert_allclose(made.precision, hessian.diagonal(), rtol=0.12)
    drawn = np.cov(made.draw(20_000).numpy().T)
    np.testing.assert_allclose(drawn.diagonal() * hessian.diagonal().numpy(), 1, atol=0.15)
    assert abs(drawn[0, 1]) / drawn[0, 0] < 0.03
