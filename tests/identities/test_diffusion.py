"""Exact identities of paths, views, solvers and bounds of diffusions whose score is known (papers 024 and 034)."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from diffusing import DOUBLE, TARGETS, some
from torch import Tensor

from elboard.bench.kinds.diffusion import KnownSpec
from elboard.bench.registry import discover
from elboard.methods.diffusion.exact_bound import ExactDiffusionBound, gaussian_kl
from elboard.methods.diffusion.solver_ddim import DDIMSolver
from elboard.methods.diffusion.solver_dpm_2 import DPMSolver2
from elboard.methods.diffusion.solver_dpm_2m import DPMSolver2M
from elboard.methods.diffusion.solver_euler import EulerSolver
from elboard.methods.diffusion.solver_heun import HeunSolver
from elboard.methods.parts.diffusion_paths import PathName, View, VPLinear, path_of
from elboard.methods.parts.diffusion_solvers import CALLS, EARLIEST, SAMPLERS, guided, posterior_deviation, steps_for, times_of
from elboard.tasks.diffusion import base as known

IDENTITIES = {
    "euler-solver": (
        "test_a_solver_is_its_sampler_on_the_flow",
        "test_the_flow_of_a_gaussian",
        "test_evaluations_are_those_that_are_paid",
        "test_euler_on_the_straight_path_is_ddim",
    ),
    "heun-solver": (
        "test_a_solver_is_its_sampler_on_the_flow",
        "test_the_flow_of_a_gaussian",
        "test_evaluations_are_those_that_are_paid",
    ),
    "ddim-solver": (
        "test_a_solver_is_its_sampler_on_the_flow",
        "test_the_flow_of_a_gaussian",
        "test_evaluations_are_those_that_are_paid",
        "test_one_step_is_exact_for_a_single_point",
    ),
    "dpm-solver-2": (
        "test_a_solver_is_its_sampler_on_the_flow",
        "test_the_flow_of_a_gaussian",
        "test_evaluations_are_those_that_are_paid",
        "test_one_step_is_exact_for_a_single_point",
    ),
    "dpm-solver-2m": (
        "test_a_solver_is_its_sampler_on_the_flow",
        "test_the_flow_of_a_gaussian",
        "test_evaluations_are_those_that_are_paid",
        "test_one_step_is_exact_for_a_single_point",
    ),
    "exact-diffusion-bound": (
        "test_all_forms_of_a_term_are_one_number",
        "test_a_term_is_the_divergence_of_its_gaussians",
        "test_both_forms_of_the_bound_have_one_mean",
        "test_of_steps_even_in_time_half_of_eulers_constant_a_dimension_stays",
    ),
}

PATHS = get_args(PathName)
FLOWS = ("euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m")


@pytest.mark.parametrize("name", PATHS)
def test_slopes_and_times_of_a_path(name: str) -> None:
    path, t = path_of(name), some()[2].requires_grad_()
    for of, slope in zip((path.alpha, path.sigma), path.slopes(t), strict=True):
        (expected,) = torch.autograd.grad((of(t) + 0 * t).sum(), t)
        torch.testing.assert_close(slope.detach(), expected)
    torch.testing.assert_close(path.time_of(path.half_log_snr(t)), t)
    assert (path.half_log_snr(t).diff(dim=0) < 0).all()


def test_the_linear_path_is_the_variance_preserving_equation() -> None:
    path, t = VPLinear(), some()[2]
    f, squared = path.drift(t)
    beta = 0.1 + 19.9 * t
    torch.testing.assert_close(f, -beta / 2)
    torch.testing.assert_close(squared, beta)
    abar = torch.cumprod(1 - (0.1 + 19.9 * torch.arange(1, 1001, dtype=DOUBLE) / 1000) / 1000, 0)  # of Ho et al., to first order
    assert (path.alpha(torch.arange(1, 1001, dtype=DOUBLE) / 1000).square() / abar).log().abs().max() < 0.08


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_says_the_same(name: str, kind: str) -> None:
    path, (x, noise, t) = path_of(name), some()
    x_t = path.noised(x, noise, t)
    view = path.view(kind, path.target(kind, x, noise, t), x_t, t)
    torch.testing.assert_close(view, View(x, noise))
    f, squared = path.drift(t)
    torch.testing.assert_close(path.velocity(view, t), f * x_t - 0.5 * squared * path.score(view, t))
    torch.testing.assert_close(path.score(view, t) * path.sigma(t) ** 2, path.alpha(t) * view.data - x_t)  # Tweedie


@pytest.mark.parametrize("name", PATHS)
def test_data_lie_at_time_0(name: str) -> None:
    path, (x, noise, _) = path_of(name), some()
    ends = torch.tensor([EARLIEST, path.latest], dtype=DOUBLE)
    assert (path.noised(x, noise, ends[0]) - x).abs().max() < 0.1
    assert path.half_log_snr(ends)[1] < -3.9
    assert all(torch.isfinite(of).all() for of in path.slopes(ends))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver-2", "dpm-solver++2m"])
def test_one_step_is_exact_for_a_single_point(name: str, sampler: str) -> None:
    """Along the flow of one datum the noise does not change, which is what these solvers take for granted."""
    path, (x, noise, _) = path_of(name), some()

    def model(x_t: Tensor, t: Tensor) -> View:
        return path.view("data", x, x_t, t)

    for steps in (1, 3):
        times = times_of(path, steps, "log-snr", dtype=DOUBLE)
        end = SAMPLERS[sampler](model, path, path.noised(x, noise, times[0]), times)
        torch.testing.assert_close(end, path.noised(x, noise, times[-1]), rtol=1e-6, atol=1e-8)


def exact(path_name: str) -> tuple:
    """The path, and the model of N(0, s^2 I) with s = 0.5, whose flow scales x by sqrt((alpha s)^2 + sigma^2)."""
    path = path_of(path_name)

    def spread(t: Tensor) -> Tensor:
        return ((0.5 * path.alpha(t)).square() + path.sigma(t).square()).sqrt()

    return path, lambda x, t: path.view("score", -x / spread(t) ** 2, x, t), spread


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", FLOWS)
def test_the_flow_of_a_gaussian(name: str, sampler: str) -> None:
    path, model, spread = exact(name)
    x = some()[0]
    errors = []
    for steps in (200, 400):
        times = times_of(path, steps, "log-snr", dtype=DOUBLE)
        errors.append((SAMPLERS[sampler](model, path, x, times) - x * spread(times[-1]) / spread(times[0])).abs().max().item())
    order = 1 if sampler in ("euler", "ddim") else 2
    assert errors[0] < 0.05 and errors[0] / errors[1] > 0.8 * 2**order  # of a Gaussian Euler's may be of a higher one


@pytest.mark.parametrize("sampler", ["ancestral", "euler-maruyama"])
def test_what_draws_has_the_marginals_of_the_flow(sampler: str) -> None:
    torch.manual_seed(0)
    path, model, spread = exact("vp-linear")
    times = times_of(path, 400, "log-snr", dtype=DOUBLE)
    x = SAMPLERS[sampler](model, path, spread(times[0]) * torch.randn(20_000, 1, dtype=DOUBLE), times)
    assert x.std() / spread(times[-1]) == pytest.approx(1, abs=0.03) and x.mean().abs() < 0.02


def test_euler_on_the_straight_path_is_ddim() -> None:
    path, model, _ = exact("flow")
    times, x = times_of(path, 7, "time", dtype=DOUBLE), some()[0]
    torch.testing.assert_close(SAMPLERS["euler"](model, path, x, times), SAMPLERS["ddim"](model, path, x, times))


def test_an_ancestral_step_has_the_moments_of_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Luo 2022, eq. 84 and 85."""
    path, (x, noise, _) = VPLinear(), some()
    t, s, end = (torch.tensor(of, dtype=DOUBLE) for of in (0.7, 0.4, 0.1))
    (abar, before), x_t = (path.alpha(of) ** 2 for of in (t, s)), path.noised(x, noise, t)
    a = abar / before
    mean = (a.sqrt() * (1 - before) * x_t + before.sqrt() * (1 - a) * x) / (1 - abar)
    deviation = ((1 - a) * (1 - before) / (1 - abar)).sqrt()
    torch.testing.assert_close(posterior_deviation(path, t, s), deviation)
    seen = []

    def model(at: Tensor, time: Tensor) -> View:
        seen.append(at)
        return path.view("data", x, at, time)

    for drawn in (0.0, 1.0):
        monkeypatch.setattr(torch, "randn_like", lambda of, drawn=drawn: torch.full_like(of, drawn))
        SAMPLERS["ancestral"](model, path, x_t, torch.stack([t, s, end]))
        torch.testing.assert_close(seen[-1], mean + drawn * deviation)


def test_guidance_of_weight_one_is_none() -> None:
    path, model, _ = exact("vp-linear")
    other = lambda x, t: path.view("score", -x, x, t)  # noqa: E731
    x, t = some()[0], torch.tensor(0.3, dtype=DOUBLE)
    torch.testing.assert_close(guided(model, other, 1.0)(x, t), model(x, t))
    torch.testing.assert_close(guided(model, other, 0.0)(x, t), other(x, t))
    torch.testing.assert_close(guided(model, other, 3.0)(x, t).noise, 3 * model(x, t).noise - 2 * other(x, t).noise)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_evaluations_are_those_that_are_paid(sampler: str) -> None:
    path, model, _ = exact("vp-linear")
    calls = []

    def counted(x: Tensor, t: Tensor) -> View:
        calls.append(t)
        return model(x, t)

    SAMPLERS[sampler](counted, path, some()[0], times_of(path, steps_for(sampler, 10), "time", dtype=DOUBLE))
    assert len(calls) == 10 // CALLS.get(sampler, 1) * CALLS.get(sampler, 1) <= 10


SOLVING = {
    "euler": EulerSolver,
    "heun": HeunSolver,
    "ddim": DDIMSolver,
    "dpm-solver-2": DPMSolver2,
    "dpm-solver++2m": DPMSolver2M,
}


@pytest.mark.parametrize("sampler", SOLVING)
def test_a_solver_is_its_sampler_on_the_flow(sampler: str) -> None:
    """From solver_euler, solver_heun, solver_ddim, solver_dpm_2 and solver_dpm_2m; solving gives them the exact model and the flow."""
    cls, (x, noise, _) = SOLVING[sampler], some()
    solver = cls(cls.Config(path="vp-cosine"), KnownSpec((2,), 1))
    path, model, _ = exact("vp-cosine")

    def score(of: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return -of / ((0.5 * alpha).square() + sigma.square())

    first, times = torch.tensor(path.latest, dtype=DOUBLE), times_of(path, 9, "log-snr", dtype=DOUBLE)
    start = solver.start(x, noise)
    torch.testing.assert_close(start, path.noised(x, noise, first))
    assert solver.ends == (path.latest, EARLIEST) and solver.calls == CALLS.get(sampler, 1)
    torch.testing.assert_close(solver.solve(score, start, 9), SAMPLERS[sampler](model, path, start, times))
    t = torch.tensor(0.4, dtype=DOUBLE)
    torch.testing.assert_close(solver.slope(score, x, 0.4), path.velocity(model(x, t), t))


# --- the bound with an exact score -------------------------------------------------------------


def bound(**options: str) -> ExactDiffusionBound:
    card = discover("method")["exact-diffusion-bound"]
    return ExactDiffusionBound(card.config_class()(**options), KnownSpec((2,), 1))


def test_the_known_score_is_the_gradient_of_the_density() -> None:
    x = known.draw(20, torch.Generator().manual_seed(0)).requires_grad_()
    (expected,) = torch.autograd.grad(known.log_density(x).sum(), x)
    torch.testing.assert_close(known.score(x.detach(), torch.ones((), dtype=DOUBLE), torch.zeros((), dtype=DOUBLE)), expected)
    grid = torch.linspace(-2.5, 2.5, 501, dtype=DOUBLE)
    mass = known.log_density(torch.cartesian_prod(grid, grid)).exp().sum() * (grid[1] - grid[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-4)
    sample = known.draw(50_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(sample.var(0), torch.full((2,), 1.01, dtype=DOUBLE), rtol=0.02, atol=0)


def test_all_forms_of_a_term_are_one_number() -> None:
    torch.manual_seed(0)
    forms = bound().forms(known.score, some()[0], 50)
    assert forms.shape == (6, 5, 49) and (forms > 0).all()
    torch.testing.assert_close(forms, forms[:, :1].expand_as(forms), rtol=1e-9, atol=0)


def test_a_term_is_the_divergence_of_its_gaussians() -> None:
    torch.manual_seed(0)
    of, (x, _, _), step = bound(), some(), torch.tensor(20.0, dtype=DOUBLE)
    torch.manual_seed(1)
    term = of.term(known.score, x, step, 50)
    torch.manual_seed(1)
    x_t, _ = of.noised(x, step, 50)
    seen, spread = of.seen(known.score, x_t, step, 50), of.spread(step, 50)
    means = [of.mean(x_t, data, step, 50) for data in (x, seen.data)]
    torch.testing.assert_close(term, gaussian_kl(means[0], spread, means[1], spread))


def test_divergence_of_gaussians_is_that_of_torch() -> None:
    (a, b, _), (v, w) = some(), (torch.tensor(0.3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE))
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(a, v.sqrt()), torch.distributions.Normal(b, w.sqrt())).sum(1)
    torch.testing.assert_close(gaussian_kl(a, v, b, w), expected)


def test_both_forms_of_the_bound_have_one_mean() -> None:
    torch.manual_seed(0)
    x = known.draw(1, torch.Generator().manual_seed(0)).expand(40_000, 2)
    of = bound()
    single = of.single(known.score, x, 10)
    whole = of.bound(known.score, x, 10)
    for found in single.values():
        error = math.hypot(found.std() / math.sqrt(len(found)), whole.std() / math.sqrt(len(whole)))
        assert abs(found.mean() - whole.mean()) < 4 * error
    assert single["consistency"].std() > single["matching"].std()


@pytest.mark.parametrize("spacing", ["log-snr", "time"])
def test_the_first_time_and_the_last_are_those_of_the_path(spacing: str) -> None:
    of, (x, _, _) = bound(spacing=spacing), some()
    for steps in (2, 1000):
        ends = of.abar(torch.tensor([0.0, 1.0, steps], dtype=DOUBLE), steps)
        first = EARLIEST if spacing == "log-snr" else of.path.latest / steps
        times = torch.tensor([0.0, first, of.path.latest], dtype=DOUBLE)
        torch.testing.assert_close(ends, of.path.alpha(times).square(), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="at least 2"):
        of.bound(known.score, x, 1)


def gaps(*steps: int, **options: str) -> list[float]:
    torch.manual_seed(0)
    x, of = known.draw(1000, torch.Generator().manual_seed(0)), bound(**options)
    return [(known.log_density(x) - of.bound(known.score, x, n)).mean().item() for n in steps]


def test_the_bound_comes_near_the_density() -> None:
    found = gaps(10, 100, 1000)
    assert found[0] > found[1] > found[2] > -0.05 and found[2] < 0.15


def test_of_steps_even_in_time_half_of_eulers_constant_a_dimension_stays() -> None:
    (found,) = gaps(1000, spacing="time")
    assert 0.5 < found < 1.0
    t = torch.arange(2, 100_001, dtype=DOUBLE)
    assert (1 / (t - 1) - (t / (t - 1)).log()).sum().item() == pytest.approx(0.5772, abs=1e-4)
