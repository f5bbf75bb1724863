"""What must hold exactly of learners of task sequences: closed forms of binary fields, of the Fisher information and of consolidation."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from elboard.bench.kinds.continual import PerceptronSpec, SequenceSpec
from elboard.bench.task import Data
from elboard.methods.continual.ewc import EWC
from elboard.methods.continual.field_binary_no_kl import FieldBinary
from elboard.methods.continual.field_perceptron import FieldPerceptron
from elboard.methods.continual.field_vcl_binary import FieldVCL
from elboard.methods.continual.fine_tuning import FineTuning
from elboard.methods.continual.joint_training import JointTraining
from elboard.methods.continual.metaplastic_bnn import MetaplasticBNN, consolidated
from elboard.methods.parts.fields import kl_of_fields, log_cosh, noisy_sums

IDENTITIES = {
    "field-vcl-binary": (
        "test_the_slope_of_the_kl_is_that_of_the_paper",
        "test_the_kl_is_that_of_two_coins",
        "test_the_last_step_is_what_the_kl_acts_against",
        "test_the_previous_task_is_the_prior_of_the_next",
        "test_without_weight_the_kl_does_nothing",
    ),
    "field-binary-no-kl": ("test_sums_have_the_moments_of_all_binary_weights", "test_the_slope_in_fields_is_that_of_the_paper"),
    "field-perceptron": (
        "test_the_energy_is_the_probability_of_right_answers",
        "test_the_second_task_refers_to_the_end_of_the_first",
        "test_langevin_students_have_the_law_of_the_means",
    ),
    "fine-tuning": ("test_fine_tuning_is_cross_entropy",),
    "joint-training": ("test_joint_training_draws_from_all_tasks",),
    "ewc": ("test_the_information_is_that_of_single_gradients", "test_the_penalty_is_the_sum_over_tasks"),
    "metaplastic-bnn": ("test_steps_are_consolidated_where_they_weaken", "test_without_metaplasticity_steps_are_adams"),
}
SPEC = SequenceSpec((1, 2, 3), 12, n_classes=3, tasks=2, hidden=(5, 4))


def built(cls: type, **options: Any) -> Any:
    """A method of ``cls`` in double precision, with examples of two tasks."""
    torch.manual_seed(0)
    method = cls(cls.Config(**options), SPEC).double()
    method.prepare(Data(SPEC, data()))
    return method


def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(24, 1, 2, 3, generator=generator).double()
    return {"x": x, "y": torch.randint(3, (24,), generator=generator), "stage": torch.arange(2).repeat_interleave(12)}


def of_task(task: int) -> dict[str, torch.Tensor]:
    return {name: value[data()["stage"] == task] for name, value in data().items()}


def step(method: Any, batch: dict[str, torch.Tensor], optimizer: Any) -> None:
    optimizer.zero_grad()
    method.loss(batch)["loss"].backward()
    method.configure_gradient_clipping(optimizer)
    optimizer.step()
    method.after_step(batch, 0)


# --- binary fields ---------------------------------------------------------------------------------


def test_the_kl_is_that_of_two_coins() -> None:
    theta, reference, beta = torch.randn(50).double(), torch.randn(50).double(), 1.7
    p, q = torch.sigmoid(2 * beta * theta), torch.sigmoid(2 * beta * reference)
    expected = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(kl_of_fields(theta, reference, beta), expected)
    assert kl_of_fields(theta, theta, beta).abs().max() < 1e-15
    far = torch.tensor([500.0, -500.0], requires_grad=True)
    log_cosh(far).sum().backward()
    assert torch.equal(far.grad, torch.tensor([1.0, -1.0]))


def test_the_slope_of_the_kl_is_that_of_the_paper() -> None:
    theta, reference, beta = torch.randn(50).double().requires_grad_(), torch.randn(50).double(), 2.5
    kl_of_fields(theta, reference, beta).sum().backward()
    expected = beta**2 * (1 - (beta * theta).tanh() ** 2) * (theta - reference)
    torch.testing.assert_close(theta.grad, expected.detach())


def test_sums_have_the_moments_of_all_binary_weights() -> None:
    """Mean and variance over all 2^6 weights, by their probabilities."""
    a, theta, beta = torch.randn(6).double(), torch.randn(6).double(), 0.8
    mean = (beta * theta).tanh()[None]
    weights = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6))).double()
    p = torch.sigmoid(2 * beta * theta * weights).prod(1)
    sums = weights @ a / math.sqrt(6)
    centre, one = noisy_sums(a[None], mean, 0.0).item(), noisy_sums(a[None], mean, torch.ones(1, 1).double()).item()
    assert centre == pytest.approx((p @ sums).item(), rel=1e-12)
    assert (one - centre) ** 2 == pytest.approx((p @ (sums - centre) ** 2).item(), rel=1e-12)


def test_the_slope_in_fields_is_that_of_the_paper() -> None:
    """dL/dtheta_ij = beta s_ij^2 [delta_j a_i / sqrt N - (m_ij / N) eps_j delta_j a_i^2 / std_j]."""
    theta, a, eps, beta, n = torch.randn(3, 5).double().requires_grad_(), torch.randn(5).double(), torch.randn(1, 3).double(), 1.3, 5
    m = (beta * theta).tanh()
    z = noisy_sums(a[None], m, eps)
    F.cross_entropy(z, torch.tensor([1])).backward()
    delta = (z.softmax(1) - F.one_hot(torch.tensor([1]), 3)).detach()[0][:, None]
    m, std = m.detach(), ((1 - m.detach() ** 2) @ a**2 / n).sqrt()[:, None]
    expected = beta * (1 - m**2) * (delta * a / math.sqrt(n) - m / n * eps.T * delta * a**2 / std)
    torch.testing.assert_close(theta.grad, expected)


def test_beta_rises_over_all_tasks() -> None:
    method = built(FieldBinary)
    found = []
    for progress in (0.0, 0.5, 1.0):
        method.progress = progress
        found.append(method.temper())
    assert found == pytest.approx([10 * math.tanh(0.1), 10 * math.tanh(1.1), 10 * math.tanh(2.1)])


def test_decided_weights_predict_as_their_signs() -> None:
    method = built(FieldBinary, test="sign")
    method.progress = 1.0
    signs = method.predict(data()["x"])
    method.theta.data *= 1e6
    for test in ("mean", "noise"):
        method.config.test = test
        torch.testing.assert_close(method.predict(data()["x"], 3).mean(0, keepdim=True), signs)


def test_a_decided_weight_has_no_slope() -> None:
    method = built(FieldBinary)
    method.theta.data[0] = 20.0
    method.progress = 1.0
    method.loss(of_task(0))["loss"].backward()
    assert method.theta.grad[0] == 0 < method.theta.grad.abs().max()


def test_the_last_step_is_what_the_kl_acts_against() -> None:
    method = built(FieldVCL, ref="last-step")
    optimizer = method.make_optimizer(method.parameter_groups())
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert method.loss(of_task(0))["kl"] == 0, "there was no step"
    fields = [method.theta.detach().clone()]
    for _ in range(3):
        step(method, of_task(0), optimizer)
        fields.append(method.theta.detach().clone())
        assert torch.equal(method.reference, fields[-2]) and not torch.equal(fields[-1], fields[-2])
    method.end_task(0, of_task(0))
    torch.testing.assert_close(method.loss(of_task(1))["kl"], kl_of_fields(fields[-1], fields[-2], method.temper()).sum())


def test_the_previous_task_is_the_prior_of_the_next() -> None:
    method = built(FieldVCL)
    optimizer = method.make_optimizer(method.parameter_groups())
    for _ in range(2):
        step(method, of_task(0), optimizer)
    assert method.loss(of_task(0))["kl"] == 0, "the first task has no prior"
    method.end_task(0, of_task(0))
    prior = method.theta.detach().clone()
    step(method, of_task(1), optimizer)
    assert torch.equal(method.reference, prior)
    torch.manual_seed(0)
    out = method.loss(of_task(1))
    torch.testing.assert_close(out["kl"], kl_of_fields(method.theta, prior, method.temper()).sum().detach())
    torch.testing.assert_close(out["loss"].detach(), out["error"] + out["kl"] / 12)


def test_without_weight_the_kl_does_nothing() -> None:
    slopes = []
    for cls, options in ((FieldBinary, {}), (FieldVCL, {"kl": 0.0})):
        method = built(cls, **options)
        optimizer = method.make_optimizer(method.parameter_groups())
        torch.manual_seed(1)
        for _ in range(3):
            step(method, of_task(0), optimizer)
        slopes.append(method.theta.detach())
    assert torch.equal(*slopes)


# --- perceptrons -----------------------------------------------------------------------------------


def perceptron(**options: Any) -> tuple[FieldPerceptron, list[dict[str, torch.Tensor]]]:
    spec = PerceptronSpec((7,), 4, settings=((1.0, 0.0), (2.0, 0.5)), load=1.0, repeats=2)
    torch.manual_seed(0)
    method = FieldPerceptron(FieldPerceptron.Config(**{"start": 1.0, **options}), spec).double()
    parts = []
    for i in (0, 1):
        x = torch.randint(2, (2, 4, 7)).double() * 2 - 1
        seen = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]]).double() if i else torch.ones(2, 4).double()
        parts.append({"x": x, "y": torch.randint(2, (2, 2, 4)).double() * 2 - 1, "seen": seen, "stage": torch.tensor([i])})
    return method, parts


def test_the_energy_is_the_probability_of_right_answers() -> None:
    """-ln H(-y sum m x / sqrt(sum (1 - m^2))), with H = erfc(x / sqrt 2) / 2 as the paper writes it."""
    method, (_, batch) = perceptron()
    m = method.theta.detach().tanh()
    found = method.energy(batch)
    for r, s in itertools.product(range(2), range(2)):
        u = batch["y"][r, s] * (batch["x"][r] @ m[r, s]) / (1 - m[r, s] ** 2).sum().sqrt()
        expected = -(torch.erfc(-u / math.sqrt(2)) / 2).log()[batch["seen"][s] > 0].sum()
        assert found[r, s].item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_second_task_refers_to_the_end_of_the_first() -> None:
    method, parts = perceptron()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.1)
    for _ in range(3):
        step(method, parts[0], optimizer)
    end = method.theta.detach().clone()
    first = method.loss(parts[1])
    assert first["kl"].item() == 0 and method.loss(parts[0])["kl"] == 0
    step(method, parts[1], optimizer)
    assert torch.equal(method.reference, end)
    kl = kl_of_fields(method.theta, end, 1.0).sum(-1)
    expected = (method.energy(parts[1]) + kl).mean() / 7
    torch.testing.assert_close(method.loss(parts[1])["loss"], expected)


def test_langevin_students_have_the_law_of_the_means() -> None:
    """Without patterns, and with a prior alone, means are those of exp(-b KL) dm: of m and m^2 by a sum over m."""
    method, parts = perceptron(student="langevin", inverse=2.0, step=0.01)
    optimizer = method.make_optimizer(method.parameter_groups())
    batch = {**parts[1], "seen": torch.zeros(2, 4).double()}
    method.reference.fill_(0.5)
    seen = []
    for i in range(3000):
        step(method, batch, optimizer)
        if i > 500:
            seen.append(method.students().detach())
    found = torch.stack(seen)
    m = torch.linspace(-1, 1, 4001)[1:-1].double()
    weights = (-2.0 * kl_of_fields(m.atanh(), torch.full_like(m, 0.5), 1.0)).softmax(0)
    assert found.mean().item() == pytest.approx((weights @ m).item(), abs=0.05)
    assert found.square().mean().item() == pytest.approx((weights @ m**2).item(), abs=0.05)


def test_langevin_students_that_are_sure_of_the_wrong_stay_finite() -> None:
    """Fields of 5 whose signs answer nothing right: the slope of b L is of the order of 10^5."""
    method, parts = perceptron(student="langevin")
    x = parts[1]["x"]
    method.theta.data[:] = 5.0
    batch = {**parts[1], "y": -(x.sum(-1).sign())[:, None].expand(-1, 2, -1).contiguous()}
    optimizer = method.make_optimizer(method.parameter_groups())
    before = method.theta.detach().clone()
    for i in range(100):
        step(method, batch, optimizer)
        if i == 0:
            assert (method.theta - before).abs().max() < 1 + 6 * math.sqrt(2 * 0.005)
    assert method.theta.isfinite().all() and method.theta.abs().max() < 15


# --- baselines -------------------------------------------------------------------------------------


def test_fine_tuning_is_cross_entropy() -> None:
    method, batch = built(FineTuning), of_task(0)
    expected = F.cross_entropy(method.predict(batch["x"])[0].log(), batch["y"])
    torch.testing.assert_close(method.loss(batch)["loss"], expected)


def test_joint_training_draws_from_all_tasks() -> None:
    """Its loss is, in the mean over draws, that of all examples, whatever task the batch is of."""
    method = built(JointTraining)
    whole = FineTuning.loss(method, data())["loss"].item()
    with torch.no_grad():
        torch.manual_seed(0)
        found = torch.stack([method.loss(of_task(0))["loss"] for _ in range(4000)])
    assert abs(found.mean().item() - whole) < 5 * found.std().item() / math.sqrt(4000)


def test_the_information_is_that_of_single_gradients() -> None:
    method, batch = built(EWC), of_task(0)
    expected = torch.zeros_like(method.flat())
    for x in batch["x"]:
        logs = method(x[None]).log_softmax(1)[0]
        for c in range(3):
            slopes = torch.autograd.grad(logs[c], list(method.net.parameters()), retain_graph=True)
            expected += logs[c].exp().detach() * torch.cat([s.flatten() for s in slopes]) ** 2 / 12
    torch.testing.assert_close(method.information(batch["x"]), expected.detach())


def test_the_penalty_is_the_sum_over_tasks() -> None:
    method, theta, penalty = built(EWC, lambda_=3.0), [], 0
    assert method.loss(of_task(0))["penalty"] == 0
    for task in (0, 1):
        method.end_task(task, of_task(task))
        theta.append((method.flat().detach(), method.information(of_task(task)["x"])))
        for p in method.parameters():
            p.data += 0.3 * torch.randn_like(p)
    now = method.flat().detach()
    penalty = sum((f * (now - at) ** 2).sum() for at, f in theta)
    out = method.loss(of_task(0))
    torch.testing.assert_close(out["penalty"].detach(), penalty)
    torch.testing.assert_close(out["loss"].detach(), FineTuning.loss(method, of_task(0))["loss"].detach() + 1.5 * penalty)


def test_steps_are_consolidated_where_they_weaken() -> None:
    """Algorithm 1: the factor 1 - tanh^2(m W) where sign(W) U > 0, of steps W - U."""
    before, u, m = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.2]), torch.tensor([0.5, -0.5, 0.5, -0.5, 0.1]), 1.35
    factor = torch.where(before.sign() * u > 0, 1 - torch.tanh(m * before) ** 2, 1.0)
    torch.testing.assert_close(consolidated(before, before - u, m), before - u * factor)


def test_without_metaplasticity_steps_are_adams() -> None:
    found = []
    for m in (0.0, 1.35):
        method = built(MetaplasticBNN, m=m)
        optimizer = method.make_optimizer(method.parameter_groups())
        plain = [p.detach().clone().requires_grad_() for p in method.hidden]
        adam = torch.optim.Adam(plain, lr=0.005)
        for _ in range(4):
            slopes = torch.autograd.grad(method.loss(of_task(0))["loss"], list(method.hidden))
            step(method, of_task(0), optimizer)
            for p, slope in zip(plain, slopes, strict=True):
                p.grad = slope
            adam.step()
        found.append(max((p - q).abs().max().item() for p, q in zip(plain, method.hidden, strict=True)))
    assert found[0] < 1e-12 < 1e-6 < found[1]


@pytest.mark.parametrize("cls", [FineTuning, EWC, FieldVCL, MetaplasticBNN])
def test_a_task_ends_once_at_the_end_of_its_epochs(cls: type) -> None:
    method, told = built(cls), []
    method.end_task = lambda task, examples: told.append((task, examples["stage"].unique().tolist(), len(examples["y"])))
    for epoch in range(4):
        method._trainer = SimpleNamespace(current_epoch=epoch, max_epochs=4)
        method.before_validation()
        assert len(told) == (epoch + 1) // 2
    assert told == [(0, [0], 12), (1, [1], 12)]
