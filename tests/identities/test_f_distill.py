"""Identities of distillation by f-divergences (paper 092): gradients between Gaussians, weights, and what each loss reaches."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.methods.diffusion.ddpm import DDPM
from elboard.methods.diffusion.f_distill import BINS, FDistill, H, distillation, weights
from elboard.methods.diffusion.flow_matching import FlowMatching
from elboard.methods.parts.diffusion_paths import path_of

IDENTITIES = {
    "f-distill": (
        "test_the_gradient_is_that_of_the_divergence",
        "test_weights_are_those_of_the_divergences",
        "test_reverse_kl_is_dmd",
        "test_at_the_teacher_nothing_moves_the_student",
        "test_each_loss_reaches_its_own_networks",
        "test_the_student_learns_a_gaussian",
    )
}
DOUBLE = torch.float64
F: dict[str, Callable[[Tensor], Tensor]] = {  # generators f of D_f(p || q) = int q f(p / q), and the constant that h leaves out
    "rkl": lambda r: -r.log(),
    "kl": lambda r: r * r.log(),
    "js": lambda r: r * r.log() - (1 + r) * ((1 + r) / 2).log(),
    "sf": lambda r: (1 + r) * ((1 + r) / r).log(),
    "neyman": lambda r: (1 - r).square() / r / 2,
    "sh": lambda r: 2 * (r.sqrt() - 1).square(),
    "jf": lambda r: (r - 1) * r.log(),
}


@pytest.mark.parametrize("name", sorted(H))
def test_weights_are_those_of_the_divergences(name: str) -> None:
    """h(r) = r^2 f''(r), by differentiating f twice."""
    r = torch.linspace(0.1, 20, 50, dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(F[name](r).sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    torch.testing.assert_close(H[name](r).detach(), (r.square() * curvature).detach(), rtol=1e-8, atol=1e-10)


def normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() / variance + (2 * math.pi * variance).log())


def seen(x_t: Tensor, mean: Tensor, deviation: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[x_0 | x_t] of x_0 ~ N(mean, deviation^2)."""
    gain = alpha * deviation.square() / (alpha.square() * deviation.square() + sigma.square())
    return mean + gain * (x_t - alpha * mean)


@pytest.mark.parametrize("name", sorted(H))
@pytest.mark.parametrize("t", [0.3, 0.8])
def test_the_gradient_is_that_of_the_divergence(name: str, t: float) -> None:
    """Between Gaussians x = m + s z and N(0, 1), with exact denoisers and ratios, by quadrature over z and noise: weighted by
    h alpha^2 / sigma^2 the surrogate has the gradient of D_f(p_t || q_t) by m and s. So the student goes to the teacher."""
    path, one, zero = path_of("flow"), torch.ones((), dtype=DOUBLE), torch.zeros((), dtype=DOUBLE)
    time = torch.tensor(t, dtype=DOUBLE)
    alpha, sigma = path.alpha(time), path.sigma(time)
    m, s = (torch.tensor(value, dtype=DOUBLE, requires_grad=True) for value in (0.3, 0.9))
    grid = torch.linspace(-12, 12, 20_001, dtype=DOUBLE)
    log_p = normal(grid, zero, alpha.square() + sigma.square())
    log_q = normal(grid, alpha * m, (alpha * s).square() + sigma.square())
    near = grid.abs() < 8  # beyond, both are below 1e-14 and quotients no numbers
    divergence = torch.trapezoid((log_q.exp() * F[name]((log_p - log_q).exp()))[near], grid[near])
    expected = torch.stack(torch.autograd.grad(divergence, (m, s)))
    nodes, mass = (torch.from_numpy(of) for of in np.polynomial.hermite_e.hermegauss(60))
    mass = mass / mass.sum()
    z, eps = nodes.repeat_interleave(60), nodes.repeat(60)
    share = mass.repeat_interleave(60) * mass.repeat(60)
    x = m + s * z
    x_t = (alpha * x + sigma * eps).detach()
    ratio = (normal(x_t, zero, alpha.square() + sigma.square()) - normal(x_t, alpha * m, (alpha * s).square() + sigma.square())).exp()
    difference = seen(x_t, m, s, alpha, sigma) - seen(x_t, zero, one, alpha, sigma)
    weight = len(x) * share * H[name](ratio) * alpha.square() / sigma.square()
    found = torch.autograd.grad(distillation(x[:, None], weight.detach(), difference[:, None].detach()), (m, s))
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-5, atol=1e-7)
    assert expected[0] > 0, "the mean is above the teacher's: descent lowers it"


def test_reverse_kl_is_dmd() -> None:
    """Its weights are 1 whatever the ratio; those of all have mean 1; of no other they are 1."""
    logits, when = (
        3 * torch.randn(400, generator=torch.Generator().manual_seed(0)),
        torch.rand(400, generator=torch.Generator().manual_seed(1)),
    )
    torch.testing.assert_close(weights("rkl", logits, when), torch.ones(400), rtol=0, atol=2e-6)
    for name in H:
        h = weights(name, logits, when)
        assert h.mean().item() == pytest.approx(1, abs=1e-5) and (name == "rkl" or h.std() > 0.05)


def test_the_ratio_is_teacher_over_student() -> None:
    """Real is the positive class: where data are denser than samples forward KL weighs more, and Neyman's divergence less."""
    logits, when = torch.tensor([-2.0, 2.0]), torch.tensor([0.5, 0.5])
    for name, rises in {"kl": True, "js": True, "sh": True, "jf": True, "sf": False, "neyman": False}.items():
        low, high = weights(name, logits, when)
        assert (high > low) == rises


def test_ratios_are_clipped_and_normalised_in_their_part_of_the_times() -> None:
    logits = torch.tensor([0.0, 0.0, 50.0, math.log(10.0), -50.0])
    when = torch.tensor([0.05, 0.07, 0.55, 0.57, 1.0])
    r = torch.tensor([1.0, 1.0, 20 / 15, 10 / 15, 1.0])  # 20 is the most, and the last is alone in its part
    torch.testing.assert_close(weights("kl", logits, when), r / r.mean(), rtol=1e-4, atol=0)
    far = torch.cat([torch.full((100,), 0.01), torch.full((100,), 0.99)])
    apart = torch.cat([torch.zeros(100), torch.full((100,), 2.5)])
    torch.testing.assert_close(weights("kl", apart, far), torch.ones(200), rtol=0, atol=1e-4)  # parts as such weigh alike
    assert BINS == 10


def made(shape: tuple[int, ...] = (2,), teacher: type = FlowMatching, **options: object) -> FDistill:
    torch.manual_seed(0)
    spec = LikelihoodSpec(shape, 10, likelihood="gaussian" if len(shape) == 1 else "discretised-logistic")
    base = teacher(teacher.Config(hidden=[16, 16], width=8), spec)
    for parameter in base.average.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    small = {"hidden": [16], "judge": [16], **options}
    return FDistill(FDistill.Config(**small), spec, {"teacher": base.eval()})


BATCH = {(2,): torch.randn(12, 2), (1, 6, 6): torch.rand(12, 1, 6, 6)}


@pytest.mark.parametrize("shape", list(BATCH))
def test_each_loss_reaches_its_own_networks(shape: tuple[int, ...]) -> None:
    """The student's the student, the others' the fake score and D: no gradient passes ratio, weights or samples."""
    method = made(shape)
    names = ("student", "fake", "judge")
    for name in names:
        for parameter in getattr(method, name).parameters():
            torch.nn.init.normal_(parameter, std=0.3)

    def reached(loss: Tensor) -> set[str]:
        found = set()
        for name in names:
            slopes = torch.autograd.grad(loss, list(getattr(method, name).parameters()), allow_unused=True, retain_graph=True)
            found |= {name for slope in slopes if slope is not None and slope.abs().sum() > 0}
        return found

    assert reached(method.student_loss(12)) == {"student"}
    assert reached(method.others_loss(BATCH[shape])["loss"]) == {"fake", "judge"}
    assert reached(method.loss({"x": BATCH[shape]})["loss"]) == set(names)


@pytest.mark.parametrize("shape", list(BATCH))
def test_at_the_teacher_nothing_moves_the_student(shape: tuple[int, ...]) -> None:
    """The fake score starts as the teacher: where it is that, there is no direction, and the loss without D is 0."""
    method = made(shape, gan=0.0)
    assert method.student_loss(12).item() == 0
    with torch.no_grad():
        next(method.fake.parameters()).add_(0.3)
    assert method.student_loss(12).item() > 0


@pytest.mark.parametrize("shape", list(BATCH))
def test_what_is_copied_of_a_trained_teacher_trains(shape: tuple[int, ...]) -> None:
    """The base is in evaluation mode, and stays in it; what starts from its weights is not."""
    method = made(shape)
    assert all(module.training for module in method.modules())
    assert not any(module.training for module in method.teacher.modules())


def test_the_student_of_images_starts_as_the_teacher_in_one_step() -> None:
    method = made((1, 6, 6))
    torch.manual_seed(5)
    x = method.sample(4)
    torch.manual_seed(5)
    teacher, path = method.teacher, method.teacher.path
    t = torch.tensor(path.latest)
    data = teacher.unclipped(path.sigma(t) * torch.randn(4, 1, 6, 6), t).data
    torch.testing.assert_close(x, teacher.centre + teacher.scale * data.clamp(-1, 1))


def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of five steps is the student's."""
    method, taken = made(), []
    monkeypatch.setattr(method, "student_loss", lambda n: taken.append("student") or torch.zeros((), requires_grad=True))
    monkeypatch.setattr(method, "others_loss", lambda x: taken.append("others") or {"loss": torch.zeros((), requires_grad=True)})
    for step in range(10):
        monkeypatch.setattr(FDistill, "global_step", step)
        method.training_step({"x": BATCH[2,]}, step)
    assert taken == 2 * [*["others"] * 4, "student"]


def test_clean_data_are_the_same_of_any_teacher() -> None:
    """Of a network of noise as of one of velocities: what algebra makes of the prediction."""
    for teacher in (FlowMatching, DDPM):
        method = made(teacher=teacher)
        of, t = method.teacher, torch.full((12,), 0.4)
        x_t = BATCH[2,]
        torch.testing.assert_close(method.data(of.average, x_t, t), of.unclipped(x_t, torch.tensor(0.4)).data)


def test_a_teacher_that_is_no_diffusion_is_refused() -> None:
    spec = LikelihoodSpec((2,), 10, likelihood="gaussian")
    student = made()
    with pytest.raises(UserError, match="FDistill is no diffusion"):
        FDistill(student.config, spec, {"teacher": student})


def test_the_student_learns_a_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift and a scale of the noise, with exact denoisers of teacher and student: the least divergence is the teacher's law."""
    method = made(gan=0.0, divergence="rkl")
    mean, deviation = torch.nn.Parameter(torch.tensor([1.5, -1.0])), torch.nn.Parameter(torch.tensor([0.5, 2.0]))
    path, of = method.teacher.path, method.teacher
    monkeypatch.setattr(method, "made", lambda network, n: mean + deviation * torch.randn(n, 2))

    def data(network: object, x_t: Tensor, t: Tensor) -> Tensor:
        at = (mean.detach(), deviation.detach()) if network is method.fake else (torch.zeros(2), torch.ones(2))
        return seen(x_t, *at, path.alpha(of.wide(t)), path.sigma(of.wide(t)))

    monkeypatch.setattr(method, "data", data)
    optimizer = torch.optim.Adam([mean, deviation], 2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        method.student_loss(200).backward()
        optimizer.step()
    assert mean.abs().max() < 0.15 and (deviation.abs() - 1).abs().max() < 0.2
