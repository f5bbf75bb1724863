"""What must hold exactly for descent with dropout and its modified equations: masks are enumerated, linear models have closed forms."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from elboard.bench.kinds.dynamics import DescentSpec, DiffusionSpec
from elboard.bench.metrics.dynamics import linear_moments
from elboard.bench.metrics.rates import rate
from elboard.bench.task import Data
from elboard.methods.dropout.dropout_gd import DropoutGD
from elboard.methods.dropout.dropout_sme import DropoutSME
from elboard.tasks.dynamics.weak_order import TwoLayers, slope

IDENTITIES = {
    "dropout-sme": (
        "test_the_modified_loss_is_the_mean_over_all_masks",
        "test_the_noise_has_the_covariance_of_the_gradient_over_all_masks",
        "test_a_step_without_noise_is_heuns",
        "test_without_noise_it_is_the_flow_of_its_loss",
        "test_variates_are_linear_in_the_noise",
    ),
    "dropout-gd": ("test_where_all_units_are_kept_there_is_no_noise", "test_gradients_are_the_mean_over_all_masks"),
}
M, N, KEEP = 3, 5, 0.7


def build(settings: tuple = (("tanh", 0.2), ("linear", 0.1)), step: float = 0.05, **options: Any) -> tuple[DropoutSME, TwoLayers]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, N, generator=generator).double()
    spec = DiffusionSpec((M, 3), N, settings=settings, keep=KEEP, step=step, samples=2)
    method = DropoutSME(DropoutSME.Config(**options), spec).double()
    method.prepare(Data(spec, {"x": x, "y": y}, shared={"start": torch.randn(M, 3, generator=generator).double()}))
    return method, TwoLayers(x, y, KEEP)


def all_masks(units: int = M, keep: float = KEEP) -> tuple[torch.Tensor, torch.Tensor]:
    """All masks ``(2^m, m)`` of 0 and 1/p, and their probabilities."""
    kept = torch.tensor(list(itertools.product([0.0, 1.0], repeat=units))).double()
    return kept / keep, (kept * keep + (1 - kept) * (1 - keep)).prod(1)


def of_masks(network: TwoLayers, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the loss by each mask, flat, and the probabilities of these."""
    masks, p = all_masks()
    return slope(network.risk, theta.expand(len(p), -1, -1), masks).flatten(1), p


def advance(method: DropoutSME, steps: int, sign: float = 1.0) -> None:
    """The steps of a training, with the same normal draws times ``sign``."""
    optimizer, generator = method.make_optimizer(method.parameter_groups()), torch.Generator().manual_seed(0)
    method.normal = lambda *shape: sign * torch.randn(*shape, generator=generator).double()
    method._trainer = SimpleNamespace(num_training_batches=steps, current_epoch=0, max_epochs=1)
    for i in range(steps):
        method.on_train_batch_start({}, i)
        optimizer.zero_grad()
        method.loss({})["loss"].backward()
        optimizer.step()
        method.after_step({}, i)


def test_the_modified_loss_is_the_mean_over_all_masks() -> None:
    method, network = build()
    theta = method.theta.detach()[0, 0]
    masks, p = all_masks()
    gradients, _ = of_masks(network, theta)
    value, gradient = method.modified(theta)
    assert value.item() == pytest.approx((p * network.risk(theta.expand(len(p), -1, -1), masks)).sum().item(), rel=1e-12)
    assert value.item() == pytest.approx(network.expected(theta).item(), rel=1e-12)
    torch.testing.assert_close(gradient.flatten(), p @ gradients)


def test_the_noise_has_the_covariance_of_the_gradient_over_all_masks() -> None:
    """The noise is linear in its normal variables: the matrix that turns them into it, times its transpose."""
    method, network = build()
    theta = method.theta.detach()[0, 0]
    gradients, p = of_masks(network, theta)
    centred = gradients - p @ gradients
    pairs = [(r, s) for r in range(M) for s in range(r + 1, M)]
    first, second = torch.zeros(M + len(pairs), M).double(), torch.zeros(M + len(pairs), M, M).double()
    first[:M] = torch.eye(M)
    for i, (r, s) in enumerate(pairs):
        second[M + i, r, s] = 1
    columns = method.noise(theta, first, second).flatten(1)
    covariance = centred.T @ (p[:, None] * centred)
    torch.testing.assert_close(columns.T @ columns, covariance)
    total, outer = method.trace(method.theta.detach())[:, 0]
    assert total.item() == pytest.approx(covariance.trace().item(), rel=1e-12)
    assert outer.item() == pytest.approx(covariance.diagonal().view(M, 3)[:, 0].sum().item(), rel=1e-12)


def test_a_step_without_noise_is_heuns() -> None:
    """Of the linear model, where the potential is quadratic: 1 - h H + h^2 H^2 / 2."""
    method, _ = build(settings=(("linear", 0.2),), step=0.1, noise="none", order=1)
    start = method.theta.detach()[0, 0].clone()
    h, b = quadratic(method)
    advance(method, 1)
    optimum, step = np.linalg.solve(h, b), np.eye(M) - 0.1 * h + 0.005 * h @ h
    found = method.theta.detach()[0, 1]
    np.testing.assert_allclose(found[:, 0].numpy(), optimum + step @ (start[:, 0].numpy() - optimum), rtol=1e-10)
    assert torch.equal(found[:, 1:], start[:, 1:]) and method.time() == pytest.approx(0.1)


@pytest.mark.parametrize("order", [1, 2])
def test_without_noise_it_is_the_flow_of_its_loss(order: int) -> None:
    """Of the linear model a matrix exponential, which the integrator is near to by the square of its step."""
    errors = []
    for step in (0.02, 0.01):
        method, _ = build(settings=(("linear", 0.2),), step=step, noise="none", order=order)
        start = method.theta.detach()[0, 0].clone()
        h, b = quadratic(method)
        advance(method, round(1 / step))
        drift = h if order == 1 else h + 0.1 * h @ h
        optimum = np.linalg.solve(h, b)
        expected = optimum + expm(-drift) @ (start[:, 0].numpy() - optimum)
        errors.append(np.abs(method.theta.detach()[0, 1, :, 0].numpy() - expected).max())
    assert errors[0] < 1e-3 and errors[1] < errors[0] / 3


def quadratic(method: DropoutSME) -> tuple[np.ndarray, np.ndarray]:
    """Of L as a function of the a_r: (1/2) a^T h a - b^T a."""
    one = method.theta.detach()[0, 0].clone()
    one[:, 0] = 1
    features = method.pieces(one)[1].numpy()
    h = features @ features.T / N
    return h + (1 / KEEP - 1) * np.diag(np.diag(h)), features @ method.y.numpy() / N


@pytest.mark.parametrize("noise", ["dropout", "isotropic"])
def test_variates_are_linear_in_the_noise(noise: str) -> None:
    """So that their mean is exactly 0; centres have no noise."""
    ends = []
    for sign in (1.0, -1.0):
        method, _ = build(noise=noise)
        advance(method, 4, sign=sign)
        ends.append(method.paths())
    (theta, linear, centre), (other, mirrored, same) = ends
    torch.testing.assert_close(linear, -mirrored)
    assert torch.equal(centre, same) and not torch.allclose(theta, other)
    assert (theta - centre[:, None] - linear).abs().max() < (theta - centre[:, None]).abs().max()


def exact_masks(h: np.ndarray, b: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Probability p, matrix G and vector c of the gradient G a - c by each mask."""
    masks, p = all_masks(len(b))
    return [(float(w), d[:, None] * h * d, d * b) for w, d in zip(p, masks.numpy(), strict=True)]


def test_moments_of_linear_descent_are_those_of_all_masks() -> None:
    rng = np.random.default_rng(0)
    h, b, start = np.cov(rng.normal(size=(M, 9))), rng.normal(size=M), rng.normal(size=M)
    paths = [(1.0, start)]
    for _ in range(3):
        paths = [(p * w, a - 0.3 * (g @ a - c)) for p, a in paths for w, g, c in exact_masks(h, b)]
    mean, second = linear_moments(h, b, KEEP, 0.3, 3, start)
    np.testing.assert_allclose(mean, sum(p * a for p, a in paths), rtol=1e-12)
    np.testing.assert_allclose(second, sum(p * np.outer(a, a) for p, a in paths), rtol=1e-12)


def diffusion_moments(h: np.ndarray, b: np.ndarray, eps: float, order: int, start: np.ndarray) -> np.ndarray:
    """E a and E a a^T at the time 1 of the modified equation, by Runge and Kutta on their linear equations, with Sigma from all masks."""
    masks = exact_masks(h, b)
    mean_h, mean_b = sum(w * g for w, g, _ in masks), sum(w * c for w, _, c in masks)
    pull = np.eye(len(b)) + (order == 2) * eps / 2 * mean_h

    def outer(g: np.ndarray, c: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
        return g @ s @ g.T - np.outer(g @ m, c) - np.outer(c, g @ m) + np.outer(c, c)

    def change(state: np.ndarray) -> np.ndarray:
        m, s = state[0], state[1:]
        sigma = sum(w * outer(g, c, m, s) for w, g, c in masks) - outer(mean_h, mean_b, m, s)
        cross = pull @ (mean_h @ s - np.outer(mean_b, m))
        return np.vstack([-pull @ (mean_h @ m - mean_b), -cross - cross.T + eps * sigma])

    state, dt = np.vstack([start, np.outer(start, start)]), 0.01
    for _ in range(100):
        k1 = change(state)
        k2 = change(state + dt / 2 * k1)
        k3 = change(state + dt / 2 * k2)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + change(state + dt * k3))
    return state


@pytest.mark.parametrize("order", [1, 2])
def test_linear_models_have_the_weak_order_exactly(order: int) -> None:
    rng = np.random.default_rng(1)
    h, b, start, rates = np.cov(rng.normal(size=(M, 9))), rng.normal(size=M), rng.normal(size=M), np.array([0.05, 0.025, 0.0125])
    errors = []
    for eps in rates:
        mean, second = linear_moments(h, b, KEEP, eps, round(1 / eps), start)
        d = diffusion_moments(h, b, eps, order, start) - np.vstack([mean, second])
        errors.append([np.abs(d[0]).max(), np.abs(d[1:]).max()])
    assert [rate(1 / rates, of, 0.0) for of in np.array(errors).T] == pytest.approx([order, order], abs=0.15)


# --- descent on digits ------------------------------------------------------------------------------


def descent(keep: float, **options: Any) -> DropoutGD:
    torch.manual_seed(0)
    spec = DescentSpec((4,), 12, n_classes=3, keep=keep)
    method = DropoutGD(DropoutGD.Config(**({"hidden": [3], "window": 4} | options)), spec)
    method.prepare(Data(spec, {"x": torch.randn(12, 4), "y": torch.randint(3, (12,))}))
    return method


@pytest.mark.parametrize(("keep", "options"), [(1.0, {}), (0.5, {"noise": "batches", "size": 12})])
def test_where_all_units_are_kept_there_is_no_noise(keep: float, options: dict) -> None:
    """Nor where a batch holds all examples."""
    method = descent(keep, **options)
    expected = torch.func.grad(method.risk)(method.weights())
    torch.testing.assert_close(method.gradients(3), expected.expand(3, -1))
    torch.testing.assert_close(method.risk(method.theta), method.loss({"x": method.x, "y": method.y})["loss"])


def test_gradients_are_the_mean_over_all_masks() -> None:
    """Of the linear part: with one mask for all examples the logits have the mean of those without masks."""
    method = descent(0.6)
    masks, p = all_masks(3, 0.6)
    each = torch.stack([method.logits(method.theta, method.x, [mask.float()]) for mask in masks])
    torch.testing.assert_close(torch.einsum("k,knc->nc", p.float(), each), method.logits(method.theta, method.x))
    drawn = torch.stack([torch.cat(method.masks()) for _ in range(4000)])
    assert drawn.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert (drawn.mean(0) - 1).abs().max() < 5 * (0.4 / 0.6 / 4000) ** 0.5


def test_processes_share_the_examples_of_a_batch() -> None:
    """Of half of the 12 examples one, where two are drawn from all."""
    method = descent(0.5, noise="batches", size=2)
    each = torch.nn.functional.cross_entropy(method.logits(method.theta, method.x), method.y, reduction="none")
    half = method.noisy(method.theta, method.x[:6], method.y[:6])
    pairs = (each[:, None] + each) / 2
    assert (each[:6] - half).abs().min() < 1e-6 and (pairs - method.noisy(method.theta, method.x, method.y)).abs().min() < 1e-6


def test_past_weights_are_in_their_order() -> None:
    method = descent(0.5)
    for i in range(6):
        with torch.no_grad():
            method.theta.fill_(i)
        method.after_step({}, i)
        assert method.iterates()[:, 0].tolist() == list(range(max(0, i - 3), i + 1))
