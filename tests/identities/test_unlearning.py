"""What must hold exactly of unlearning: what is seen of which examples, closed forms of the losses of LAF, its two steps."""

from __future__ import annotations

import copy
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.config import TrainerConfig
from elboard.bench.kinds.unlearning import ForgetSpec
from elboard.bench.run import seed_everything
from elboard.bench.task import Batch, Data, Task
from elboard.bench.training import Training
from elboard.methods.unlearning.embeddings import KL_WEIGHT, EmbeddingVAE
from elboard.methods.unlearning.fine_tune import FineTune
from elboard.methods.unlearning.laf import LAF, alignment, sharpness
from elboard.methods.unlearning.laf_r import LAFR
from elboard.methods.unlearning.neg_grad import NegGrad
from elboard.methods.unlearning.original import Original
from elboard.methods.unlearning.retrain import Retrain

IDENTITIES = {
    "original": ("test_the_original_is_cross_entropy_on_all_examples",),
    "retrain": ("test_retraining_never_sees_what_is_to_be_forgotten", "test_losses_are_those_of_what_remains"),
    "fine-tune": ("test_losses_are_those_of_what_remains", "test_they_start_from_the_original_and_are_judged_as_it_is"),
    "neg-grad": ("test_the_ascent_has_the_opposite_gradient",),
    "laf": (
        "test_without_rates_it_is_the_original_model",
        "test_at_the_original_embeddings_the_alignment_is_a_number",
        "test_the_temperature_divides_what_is_to_be_forgotten_alone",
        "test_no_label_is_looked_at",
        "test_a_batch_is_two_steps_of_two_optimisers",
    ),
    "laf-r": ("test_the_repair_moves_the_last_layer_along_its_gradient",),
}
N, C = 40, 3
SPEC = ForgetSpec((1, 16, 16), N, n_classes=C, n_forget=10)
TRAINER = {item.name: item.default for item in fields(TrainerConfig)} | {"accelerator": "cpu"}


def examples(forget: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, 1, 16, 16, generator=generator), torch.randint(C, (N,), generator=generator)
    return {"x": x, "y": y, "forget": torch.arange(N) % 4 == 0 if forget is None else forget}


class Quiet(Task):
    card = type("Card", (), {"selection": "retrain_gap"})
    load_train = observe = measure = None
    __abstractmethods__ = frozenset()


def built(cls: type, train: Batch | None = None, bases: dict[str, Any] | None = None, **options: Any) -> Any:
    seed_everything(0)
    method = cls(cls.Config(**options), SPEC, bases)
    method.prepare(Data(SPEC, train or examples()))
    return method


def original() -> Original:
    return built(Original, bases={"retrained": built(Retrain)}).eval()


def fitted(method: Any, folder: Path, train: Batch | None = None, epochs: int = 2, batch_size: int = 16) -> Any:
    data = Data(SPEC, train or examples())
    config = {"train": {"epochs": epochs, "batch_size": batch_size, "validate_every": 0, "keep": "last"}, "trainer": TRAINER}
    seed_everything(0)
    method.fit(data, Training(Quiet(None, "smoke", 0), data, config, 0, folder, lambda event: None))
    return method


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(a.equal(b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_original_is_cross_entropy_on_all_examples() -> None:
    method, batch = original(), examples()
    assert method.loss(batch)["loss"].item() == pytest.approx(F.cross_entropy(method(batch["x"]), batch["y"]).item(), abs=1e-6)
    assert method.retrained is method.bases["retrained"] and method.retrained.retrained is method.retrained


@pytest.mark.parametrize("cls", [Retrain, FineTune])
def test_losses_are_those_of_what_remains(cls: type) -> None:
    """Where nothing is to be forgotten that of the original model; 0 where nothing remains."""
    method, batch = built(cls, bases={"original": original()}), examples()
    keep = ~batch["forget"]
    assert method.loss(batch)["loss"].item() == pytest.approx(F.cross_entropy(method(batch["x"][keep]), batch["y"][keep]).item(), abs=1e-6)
    nothing, all_of_it = (examples(torch.full((N,), forget)) for forget in (False, True))
    assert method.loss(nothing)["loss"].item() == pytest.approx(F.cross_entropy(method(batch["x"]), batch["y"]).item(), abs=1e-6)
    assert method.loss(all_of_it)["loss"].item() == 0


def test_retraining_never_sees_what_is_to_be_forgotten(tmp_path: Path) -> None:
    """Other images and labels in their place give the same weights, and in the place of one that remains others."""
    plain, other = examples(), examples()
    other["x"][other["forget"]], other["y"][other["forget"]] = 7.0, 0
    first, second = (fitted(built(Retrain), tmp_path / name, train) for name, train in (("1", plain), ("2", other)))
    assert same(first, second)
    other["x"][1] = 7.0
    assert not same(first, fitted(built(Retrain), tmp_path / "3", other))


def test_they_start_from_the_original_and_are_judged_as_it_is() -> None:
    base = original()
    for cls in (FineTune, NegGrad, LAF):
        method = built(cls, bases={"original": base})
        assert same(method.extractor, base.extractor) and same(method.head, base.head) and method.retrained is base.retrained
        assert method.extractor[0].weight is not base.extractor[0].weight
        assert method.predict(examples()["x"]).equal(base.predict(examples()["x"]))


def test_the_ascent_has_the_opposite_gradient() -> None:
    batch, weight = examples(), 0.3
    for remaining in (0.0, weight):
        method = built(NegGrad, bases={"original": original()}, remaining=remaining)
        parameters = list(method.parameters())
        found = torch.autograd.grad(method.loss(batch)["loss"], parameters)
        losses = [F.cross_entropy(method(batch["x"][of]), batch["y"][of]) for of in (batch["forget"], ~batch["forget"])]
        expected = torch.autograd.grad(remaining * losses[1] - losses[0], parameters)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def laf(train: Batch | None = None, **options: Any) -> LAF:
    return built(LAF, train, {"original": original()}, vae_epochs=2, **options)


@pytest.mark.parametrize("options", [{"unlearn_lr": 0.0, "align_lr": 0.0}, {"unlearn": False, "align": False}])
def test_without_rates_it_is_the_original_model(options: dict[str, Any], tmp_path: Path) -> None:
    method, base = fitted(laf(**options), tmp_path), original()
    assert same(method.extractor, base.extractor) and same(method.head, base.head)
    assert method.predict(examples()["x"]).equal(base.predict(examples()["x"]))


def test_each_step_alone_moves_the_extractor_and_never_the_head(tmp_path: Path) -> None:
    base = original()
    for name in ("unlearn", "align"):
        method = fitted(laf(**{name: False}), tmp_path / name)
        assert not same(method.extractor, base.extractor) and same(method.head, base.head)
        assert same(method.teacher, base.extractor)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_at_the_original_embeddings_the_alignment_is_a_number(temperature: float) -> None:
    """All c are 0: L_RA = -R log F."""
    method, x = laf(temperature=temperature), examples()["x"]
    assert method.alignment_loss(x[:12], x[12:19]).item() == pytest.approx(-12 * math.log(7), abs=1e-4)


def test_the_temperature_divides_what_is_to_be_forgotten_alone() -> None:
    """Against the formula as the paper writes it."""
    generator = torch.Generator().manual_seed(0)
    c_r, c_f = (2 * torch.rand(n, generator=generator).double() for n in (5, 3))
    for tau in (0.5, 1.0, 20.0):
        expected = sum(math.log(math.exp(r) / sum(math.exp(f / tau) for f in c_f.tolist())) for r in c_r.tolist())
        assert alignment(c_r, c_f, tau).item() == pytest.approx(expected, abs=1e-9)
    slopes = [torch.autograd.grad(alignment(c, c_f, tau), c)[0] for tau in (0.5, 20.0) for c in [c_r.clone().requires_grad_()]]
    assert slopes[0].tolist() == slopes[1].tolist() == [1.0] * 5


def test_losses_are_sums_over_the_batch() -> None:
    c_r, c_f, s = torch.tensor([0.1, 0.7]), torch.tensor([0.4, 1.2]), torch.tensor([0.0, 3.0, 1e9])
    assert alignment(c_r.repeat(2), c_f, 5.0).item() == pytest.approx(2 * alignment(c_r, c_f, 5.0).item(), abs=1e-5)
    assert sharpness(s).item() == pytest.approx(1 + math.exp(0.75) + math.e, abs=1e-5)
    assert sharpness(s.repeat(2)).item() == pytest.approx(2 * sharpness(s).item(), abs=1e-5)


def test_what_remains_is_held_and_what_is_to_be_forgotten_driven_away() -> None:
    """The signs of both losses, by images of which one part is moved."""
    method, x = laf(), examples()["x"]
    e = method.extractor(x)
    errors = [vae.errors(e) for vae in (method.known, method.forgotten)]
    expected = torch.exp(errors[0][:9] / (errors[0][:9] + 1)).sum() - torch.exp(errors[1][9:] / (errors[1][9:] + 1)).sum()
    assert method.unlearning_loss(x[:9], x[9:]).item() == pytest.approx(expected.item(), abs=1e-4)
    with torch.no_grad():
        method.extractor[-1].weight.add_(0.05 * torch.randn_like(method.extractor[-1].weight))
        pairs = zip(method.extractor(x).double(), e.double(), strict=True)
        turned = torch.stack([1 - a @ b / (a.norm() * b.norm()) for a, b in pairs])
    assert turned.min() > 0.01, "distances, not similarities"
    expected = alignment(turned[:9], turned[9:], method.config.temperature)
    assert method.alignment_loss(x[:9], x[9:]).item() == pytest.approx(expected.item(), abs=1e-3)
    c = torch.tensor([0.2, 0.3])
    assert alignment(c + 0.1, c, 5.0) > alignment(c, c, 5.0) > alignment(c, c + 0.1, 5.0)


def test_no_label_is_looked_at(tmp_path: Path) -> None:
    other = examples()
    other["y"] = other["y"].flip(0)
    assert not other["y"].equal(examples()["y"])
    first = fitted(laf(), tmp_path / "1")
    assert same(first, fitted(laf(other), tmp_path / "2", other))
    assert not same(first.extractor, original().extractor)


def test_a_batch_is_two_steps_of_two_optimisers(tmp_path: Path) -> None:
    """By hand, with one image to be forgotten: the second loss is that after the first step. One step on the sum gives other weights."""
    train = examples(torch.arange(N) == 5)
    method = fitted(laf(train, unlearn_lr=1e-3, align_lr=3e-3), tmp_path, train, epochs=1, batch_size=N)
    remaining, forgotten = train["x"][~train["forget"]], train["x"][5:6].repeat(N - 1, 1, 1, 1)
    found = method.extractor.state_dict()
    for summed in (False, True):
        other = laf(train)
        other.known.load_state_dict(method.known.state_dict())
        other.forgotten.load_state_dict(method.forgotten.state_dict())
        first, second = (torch.optim.Adam(other.extractor.parameters(), lr=lr) for lr in (1e-3, 3e-3))
        losses = [other.unlearning_loss, other.alignment_loss]
        steps = [(first, losses)] if summed else [(first, losses[:1]), (second, losses[1:])]
        for optimizer, of in steps:
            optimizer.zero_grad()
            sum(loss(remaining, forgotten) for loss in of).backward()
            optimizer.step()
        close = [torch.allclose(found[name], value, atol=2e-4) for name, value in other.extractor.state_dict().items()]
        assert all(close) is not summed


def test_one_vae_is_of_all_examples_and_the_other_of_what_is_to_be_forgotten(tmp_path: Path) -> None:
    first = fitted(laf(), tmp_path / "plain")
    for forget in (False, True):
        other = examples()
        other["x"][other["forget"] == forget] += 1
        second = fitted(laf(other), tmp_path / str(forget), other)
        assert not same(first.known, second.known) and same(first.forgotten, second.forgotten) is not forget


def test_an_epoch_passes_once_over_what_is_to_be_forgotten(tmp_path: Path) -> None:
    """Of batches of 19, 19 and 2 examples the first is enough for 10 images; of five of 8 two are. 0 is one batch of all."""
    for size, steps in ((19, 1), (8, 2), (0, 1)):
        method, seen = laf(), []
        loss = method.alignment_loss
        method.alignment_loss = lambda *of, loss=loss, seen=seen: seen.append(of) or loss(*of)
        fitted(method, tmp_path / str(size), epochs=3, batch_size=size)
        assert len(seen) == 3 * steps


def test_vaes_of_embeddings_have_no_bounds_and_are_fixed() -> None:
    """Their loss by hand where q does not depend on e and the decoder is a number."""
    torch.manual_seed(0)
    vae, e = EmbeddingVAE(6, 2), 30 * torch.randn(11, 6)
    with torch.no_grad():
        for layer in (vae.posterior, vae.out):
            layer.weight.zero_()
        vae.posterior.bias.copy_(torch.tensor([0.5, -1.0, 0.2, -0.3]))
        vae.out.bias.copy_(torch.arange(6) * 10.0)
    kl = 0.5 * sum(m * m + math.exp(v) - 1 - v for m, v in ((0.5, 0.2), (-1.0, -0.3)))
    errors = ((e - torch.arange(6) * 10) ** 2).sum(1)
    assert vae.loss(e).item() == pytest.approx(errors.mean().item() + KL_WEIGHT * kl, rel=1e-5)
    torch.testing.assert_close(vae.errors(e), errors)
    before = copy.deepcopy(vae)
    vae.learn(e, 30, 4)
    assert vae.errors(e).equal(vae.errors(e)), "by the mean of z"
    assert vae.errors(e).mean() < before.errors(e).mean() and not any(p.requires_grad for p in vae.parameters())


def test_the_repair_moves_the_last_layer_along_its_gradient(tmp_path: Path) -> None:
    """Adam's first step is the rate times the sign of (p - onehot)^T h; all else stays what LAF left."""
    base, batch = laf().eval(), examples()
    method = fitted(built(LAFR, bases={"unlearned": base}, share=1.0, lr=0.01), tmp_path, batch_size=N)
    assert same(method.extractor, base.extractor) and same(method.head[:-1], base.head[:-1])
    keep = ~batch["forget"]
    with torch.no_grad():
        h = base.head[:-1](base.extractor(batch["x"][keep]))
        error = base.head[-1](h).softmax(1) - F.one_hot(batch["y"][keep], C)
    gradient = error.t() @ h
    sure = gradient.abs() > 1e-3
    moved = method.head[-1].weight - base.head[-1].weight
    torch.testing.assert_close(moved[sure], -0.01 * gradient.sign()[sure], rtol=1e-3, atol=1e-5)
    assert method.retrained is base.retrained
    whole = fitted(built(LAFR, bases={"unlearned": base}, share=1.0, lr=0.01), tmp_path / "whole", batch_size=0)
    assert same(whole, method), "0 is one batch of all"


def test_the_repair_sees_no_label_of_what_is_to_be_forgotten(tmp_path: Path) -> None:
    other = examples()
    other["y"][other["forget"]] = (other["y"][other["forget"]] + 1) % C
    first, second = (
        fitted(built(LAFR, bases={"unlearned": laf().eval()}, share=1.0), tmp_path / name, train)
        for name, train in (("1", examples()), ("2", other))
    )
    assert same(first, second)
