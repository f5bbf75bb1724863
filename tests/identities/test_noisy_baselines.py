"""Identities of the baselines against wrong labels: limits that are cross-entropy, expectations over noise, gradients in closed form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from elboard.bench import stopping
from elboard.bench.config import resolve
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.run import execute
from elboard.bench.task import Data
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.noisy.backward_correction import BackwardCorrection
from elboard.methods.noisy.base import small_loss
from elboard.methods.noisy.elr import EarlyLearning
from elboard.methods.noisy.forward_correction import ForwardCorrection
from elboard.methods.noisy.gce import GeneralisedCrossEntropy
from elboard.methods.noisy.jocor import JoCoR
from elboard.methods.noisy.symmetric_ce import SymmetricCrossEntropy
from elboard.methods.noisy.transition import by_anchors

IDENTITIES = {
    "forward-correction": (
        "test_corrections_with_the_identity_are_cross_entropy",
        "test_forward_correction_is_least_at_the_true_probabilities",
    ),
    "backward-correction": (
        "test_corrections_with_the_identity_are_cross_entropy",
        "test_backward_correction_is_the_clean_loss_on_average_over_given_labels",
    ),
    "gce": ("test_gce_is_cross_entropy_for_small_q_and_half_the_absolute_error_at_1", "test_gce_weighs_the_gradient_by_the_probability"),
    "symmetric-ce": ("test_symmetric_cross_entropy_is_of_its_two_terms", "test_bounded_terms_do_not_change_with_symmetric_noise"),
    "elr": (
        "test_elr_without_its_term_is_cross_entropy",
        "test_gradient_of_elr_is_the_papers",
        "test_targets_are_running_means_of_each_example",
    ),
    "jocor": (
        "test_jocor_without_agreement_that_forgets_nothing_is_two_plain_trainings",
        "test_jocor_ranks_by_the_joint_loss_and_teaches_both_networks_alike",
    ),
}
SPEC = ClassSpec((1, 8, 8), 64, n_classes=4)
BASE = {"first": Softmax(Softmax.Config(), SPEC).eval()}
NOISE = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.0, 0.6, 0.4, 0.0], [0.2, 0.2, 0.5, 0.1], [0.0, 0.1, 0.0, 0.9]])
SYMMETRIC = torch.full((4, 4), 0.15) + 0.4 * torch.eye(4)


def make(cls, seed=0, bases=None, **options):
    torch.manual_seed(seed)
    return cls(cls.Config(**options), SPEC, bases)


def batch_of(n=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *SPEC.shape, generator=generator)
    return {"x": x, "y": torch.randint(4, (n,), generator=generator), "index": torch.randperm(64, generator=generator)[:n]}


def drawn(n=32, seed=0):
    """Logits of some confidence, labels."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 4, dtype=torch.float64, generator=generator), torch.randint(4, (n,), generator=generator)


def train(method, steps=5):
    optimizer = method.make_optimizer(method.parameter_groups())
    for i in range(steps):
        optimizer.zero_grad()
        method.training_step(batch_of(seed=i), i).backward()
        optimizer.step()
    return method


def same_training(method, reference=Softmax):
    """Whether five steps leave the weights that they leave those of ``reference``, up to rounding."""
    plain = make(reference)
    plain.load_state_dict({name: tensor for name, tensor in method.state_dict().items() if name in plain.state_dict()})
    start = plain.head.weight.detach().clone()
    train(method)
    train(plain)
    assert not torch.allclose(method.head.weight, start, atol=1e-4)
    return torch.allclose(method.head.weight, plain.head.weight, atol=1e-5)


def all_labels(method, logits):
    """The loss of each row of logits at each label, ``(B, C)``."""
    columns = [method.losses(logits, torch.full((len(logits),), label)) for label in range(logits.shape[1])]
    return torch.stack(columns, 1)


# --- corrections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [ForwardCorrection, BackwardCorrection])
def test_corrections_with_the_identity_are_cross_entropy(cls):
    logits, y = drawn()
    method = make(cls, bases=BASE)
    torch.testing.assert_close(method.losses(logits, y), F.cross_entropy(logits, y, reduction="none"), rtol=1e-12, atol=1e-12)
    assert same_training(method)
    method.adopt(NOISE)
    assert not same_training(method)


def test_backward_correction_is_the_clean_loss_on_average_over_given_labels():
    logits, _ = drawn()
    method = make(BackwardCorrection, bases=BASE)
    method.adopt(NOISE)
    on_average = all_labels(method, logits) @ NOISE.double().t()
    torch.testing.assert_close(on_average, -logits.log_softmax(1), rtol=1e-5, atol=1e-5)
    singular = torch.full((4, 4), 0.25)
    method.adopt(singular)  # labels say nothing: the loss is that of a class drawn at random
    torch.testing.assert_close(all_labels(method, logits), -logits.log_softmax(1).mean(1, keepdim=True).expand(-1, 4), rtol=1e-5, atol=1e-5)
    blended = make(BackwardCorrection, bases=BASE, blend=0.5)
    blended.adopt(singular)
    torch.testing.assert_close(blended.inverse @ (singular + torch.eye(4)), 2 * torch.eye(4))


def test_forward_correction_is_least_at_the_true_probabilities():
    logits, _ = drawn(8)
    method = make(ForwardCorrection, bases=BASE)
    method.adopt(NOISE)
    given = logits.softmax(1) @ method.transition.double()
    torch.testing.assert_close(all_labels(method, logits), -given.log(), rtol=1e-6, atol=1e-6)
    at = logits.clone().requires_grad_()
    (given * all_labels(method, at)).sum().backward()  # the expectation over given labels
    assert at.grad.abs().max() < 1e-6
    away = (logits + 0.1).roll(1, 0).requires_grad_()
    (given * all_labels(method, away)).sum().backward()
    assert away.grad.abs().max() > 1e-2


def test_forward_correction_takes_impossible_labels():
    method = make(ForwardCorrection, bases=BASE)
    method.adopt(NOISE)
    sure = torch.tensor([[0.0, 60.0, 0.0, 0.0]], requires_grad=True)
    loss = method.losses(sure, torch.tensor([3]))
    loss.sum().backward()
    assert bool(loss.isfinite().all()) and bool(sure.grad.isfinite().all()) and bool(sure.grad.any())


def test_anchors_give_the_matrix_where_each_class_has_sure_examples():
    true = F.one_hot(torch.arange(40) % 4, 4).double()
    true[:4] = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)  # examples of no class
    given = true @ NOISE.double()
    torch.testing.assert_close(by_anchors(given, 1.0), NOISE.double())
    outlier = torch.cat([given, torch.eye(4, dtype=torch.float64)])
    assert torch.equal(by_anchors(outlier, 1.0), torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(by_anchors(outlier, 0.9), NOISE.double())


def test_the_matrix_is_estimated_without_labels_before_training():
    method, data = make(ForwardCorrection, bases=BASE), Data(SPEC, {"x": batch_of()["x"]})
    seen = []
    method.fit(data, SimpleNamespace(run=lambda of: seen.append(of.transition.clone())))
    p = BASE["first"].predict(data.train["x"])[0]
    assert torch.equal(seen[0], by_anchors(p, 0.97)) and torch.equal(seen[0], method.transition)
    torch.testing.assert_close(method.transition.sum(1), torch.ones(4))


# --- robust losses ----------------------------------------------------------------------------------


def test_gce_is_cross_entropy_for_small_q_and_half_the_absolute_error_at_1():
    logits, y = drawn()
    small = make(GeneralisedCrossEntropy, q=1e-7).losses(logits, y)
    torch.testing.assert_close(small, F.cross_entropy(logits, y, reduction="none"), rtol=1e-5, atol=1e-7)
    error = (logits.softmax(1) - F.one_hot(y, 4)).abs().sum(1)
    torch.testing.assert_close(make(GeneralisedCrossEntropy, q=1.0).losses(logits, y), error / 2)
    p = logits.softmax(1)[torch.arange(32), y]
    torch.testing.assert_close(make(GeneralisedCrossEntropy).losses(logits, y), (1 - p**0.7) / 0.7)
    assert same_training(make(GeneralisedCrossEntropy, q=1e-5)) and not same_training(make(GeneralisedCrossEntropy))


def test_gce_weighs_the_gradient_by_the_probability():
    logits, y = drawn()
    logits.requires_grad_()
    (of_gce,) = torch.autograd.grad(make(GeneralisedCrossEntropy, q=0.3).losses(logits, y).sum(), logits)
    (of_ce,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), logits)
    weight = logits.softmax(1)[torch.arange(32), y, None] ** 0.3
    torch.testing.assert_close(of_gce, weight * of_ce)


def test_symmetric_cross_entropy_is_of_its_two_terms():
    logits, y = drawn()
    ce = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(make(SymmetricCrossEntropy, alpha=1.0, beta=0.0).losses(logits, y), ce, rtol=0, atol=0)
    log_q = torch.where(F.one_hot(y, 4).bool(), 0.0, -4.0)
    reverse = -(logits.softmax(1) * log_q).sum(1)
    torch.testing.assert_close(make(SymmetricCrossEntropy, alpha=0.0, beta=1.0).losses(logits, y), reverse)
    torch.testing.assert_close(make(SymmetricCrossEntropy, alpha=0.3, beta=2.0).losses(logits, y), 0.3 * ce + 2 * reverse)
    error = (logits.softmax(1) - F.one_hot(y, 4)).abs().sum(1)
    torch.testing.assert_close(make(SymmetricCrossEntropy, alpha=0.0, log_zero=-2.0).losses(logits, y), error)
    assert same_training(make(SymmetricCrossEntropy, alpha=1.0, beta=0.0)) and not same_training(make(SymmetricCrossEntropy))


@pytest.mark.parametrize(
    ("method", "bounded"),
    [
        (make(SymmetricCrossEntropy, alpha=0.0), True),
        (make(GeneralisedCrossEntropy, q=1.0), True),
        (make(GeneralisedCrossEntropy), False),
        (make(SymmetricCrossEntropy), False),
    ],
)
def test_bounded_terms_do_not_change_with_symmetric_noise(method, bounded):
    """The expected loss is the clean one times a constant, plus one, where the losses of all labels have the same sum."""
    losses = all_labels(method, drawn()[0])
    noisy = losses @ SYMMETRIC.double()
    rest = noisy - 0.4 * losses
    assert torch.allclose(rest, rest[0, 0].expand_as(rest)) == bounded


# --- early-learning regularisation --------------------------------------------------------------------


def test_elr_without_its_term_is_cross_entropy():
    batch, method = batch_of(), make(EarlyLearning, lambda_=0.0)
    assert torch.equal(method.loss(batch)["loss"], F.cross_entropy(method(batch["x"]), batch["y"]))
    assert same_training(method) and not same_training(make(EarlyLearning))


def test_gradient_of_elr_is_the_papers(monkeypatch):
    method, (logits, y) = make(EarlyLearning, lambda_=3.0, beta=0.7).double(), drawn()
    logits = (logits / 3).requires_grad_()  # of probabilities that are not cut
    method.targets.copy_(drawn(64, seed=1)[0].softmax(1))
    monkeypatch.setattr(method, "forward", lambda x: logits)
    index = torch.arange(32)
    out, t = method.regularised({"x": logits, "y": y, "index": index})
    (found,) = torch.autograd.grad(out["loss"], logits)
    p = logits.detach().softmax(1)
    assert p.min() > 1e-4 and p.max() < 1 - 1e-4
    torch.testing.assert_close(t, 0.7 * method.targets[index] + 0.3 * p)
    differences = t[:, :, None] - t[:, None, :]  # t_k - t_c
    g = p / (1 - (p * t).sum(1, keepdim=True)) * (differences * p[:, :, None]).sum(1)
    torch.testing.assert_close(found, (p - F.one_hot(y, 4) + 3 * g) / 32)
    assert not t.requires_grad


def test_targets_are_running_means_of_each_example():
    method, first, second = make(EarlyLearning, beta=0.9), batch_of(seed=1), batch_of(seed=2)
    expected = torch.zeros(64, 4)
    before = method.targets.clone()
    assert torch.equal(method.loss(first)["loss"], method.loss(first)["loss"]) and torch.equal(method.targets, before)
    for i, batch in enumerate((first, second, first)):
        with torch.no_grad():
            p = method(batch["x"]).softmax(1)
        expected[batch["index"]] = 0.9 * expected[batch["index"]] + 0.1 * p
        method.training_step(batch, i)
    torch.testing.assert_close(method.targets, expected, atol=1e-4, rtol=0)  # where none is cut
    untold = method.loss({name: first[name] for name in ("x", "y")})["loss"]
    method.targets.zero_()
    assert torch.equal(untold, method.loss(first)["loss"])


@pytest.mark.parametrize("method", ["elr", "dividemix"])
def test_what_each_example_has_is_there_after_a_stop(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = resolve("noisy/digits-sym40", method, budget="smoke", overrides={"trainer.accelerator": "cpu", "train.epochs": 3})
    whole = execute(spec, tmp_path / "whole")
    asked = iter([False] * 11 + [True])  # a batch of the second epoch
    monkeypatch.setattr(stopping, "requested", lambda: next(asked, False))
    with pytest.raises(stopping.Preempted):
        execute(spec, tmp_path / "broken")
    again = execute(spec, tmp_path / "broken")
    assert whole.status == again.status == "done" and again.metrics == whole.metrics


# --- joint training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_jocor_without_agreement_that_forgets_nothing_is_two_plain_trainings(optimizer):
    options = {"optimizer": optimizer, "lr": 0.01}
    pair = make(JoCoR, lambda_=0.0, forget_rate=0.0, **options)
    batch = batch_of()
    separate = sum(F.cross_entropy(network(batch["x"]), batch["y"]) for network in (pair, pair.peer))
    torch.testing.assert_close(pair.loss(batch)["loss"], separate)
    plain = [make(Softmax, **options) for _ in range(2)]
    plain[0].load_state_dict({name: tensor for name, tensor in pair.state_dict().items() if not name.startswith(("peer.", "selected"))})
    plain[1].load_state_dict(pair.peer.state_dict())
    for method in (pair, *plain):
        train(method)
    for network, alone in zip((pair, pair.peer), plain, strict=True):
        torch.testing.assert_close(network.head.weight, alone.head.weight, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(pair.head.weight, pair.peer.head.weight, atol=1e-3)


def test_jocor_ranks_by_the_joint_loss_and_teaches_both_networks_alike():
    pair, batch = make(JoCoR, lambda_=0.7, forget_rate=0.5, ramp=0.0), batch_of()
    with torch.no_grad():
        pair.peer.head.weight.mul_(8)  # so that they disagree
    pair.progress = 1.0
    x, y = batch["x"], batch["y"]
    logs = [network(x).log_softmax(1) for network in (pair, pair.peer)]
    divergences = [F.kl_div(a, b, log_target=True, reduction="none").sum(1) for a, b in (logs, logs[::-1])]
    supervised = [F.nll_loss(a, y, reduction="none") for a in logs]
    losses = 0.3 * sum(supervised) + 0.7 * sum(divergences)
    torch.testing.assert_close(pair.joint(pair(x), pair.peer(x), y), losses, rtol=1e-4, atol=1e-6)
    chosen = small_loss(losses.detach(), 0.5)
    assert not torch.equal(chosen, small_loss(sum(supervised).detach(), 0.5))
    out, kept = pair.teach(batch)
    torch.testing.assert_close(out["loss"], losses[chosen].mean(), rtol=1e-4, atol=1e-6)
    assert kept.nonzero().squeeze(1).tolist() == chosen.tolist()
    out["loss"].backward()
    assert all(bool(network.head.weight.grad.any()) for network in (pair, pair.peer))


def test_agreement_is_no_loss_where_both_networks_are_one():
    pair = make(JoCoR, lambda_=1.0)
    logits, y = drawn()
    assert not bool(pair.joint(logits, logits.clone(), y).any())
