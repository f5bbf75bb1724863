"""The multimodal tasks: pictures and their pairs, metrics of generators that know, ignore or copy what is given, exact bounds of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import linalg
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.multimodal import networks
from elboard.tasks.multimodal.base import told
from elboard.tasks.multimodal.digits import mates
from elboard.tasks.multimodal.pictures import backgrounds, compose, partners
from elboard.tasks.multimodal.toy import CASES, entropy, examples


def make(name: str = "multimodal/poly-digits", **options: Any) -> Task:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"].get("task", {}), **options}), "smoke", 0)


class Known:
    """Gives the pictures ``x`` by modality again: jointly from the first on, and given others those of the same rows."""

    def __init__(self, x: Mapping[str, Tensor], shift: int = 0):
        self.x, self.shift, self.rows = x, shift, 0

    def sample_joint(self, n: int) -> dict[str, Tensor]:
        return {name: of[:n].roll(self.shift * m, 0) for m, (name, of) in enumerate(self.x.items())}

    def sample_given(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        name, of = next(iter(given.items()))
        row = [int((self.x[name] == one).flatten(1).all(1).nonzero()[0]) for one in of]
        return {name: of[row].roll(self.shift, 0) for name, of in self.x.items()}


# --- pictures --------------------------------------------------------------------------------------------


def test_a_digit_inverts_its_background() -> None:
    rng = np.random.default_rng(0)
    digits = torch.zeros(5, 2, 14, 14)
    digits[:, :, 4:9] = 1.0
    plain, drawn = compose(digits, False, rng), compose(digits, True, rng)
    assert torch.equal(plain, digits[:, :, None].expand(-1, -1, 3, -1, -1))
    on, off = drawn[:, :, :, 4:9], torch.cat([drawn[:, :, :, :4], drawn[:, :, :, 9:]], dim=3)
    assert on.min() >= 0.6 - 1e-6 and off.max() <= 0.4 + 1e-6, "digits are seen on every background"
    texture = backgrounds(True)[1].unfold(1, 14, 1).unfold(2, 14, 1)
    crop = torch.where(digits[0, 1] > 0, 1 - drawn[0, 1], drawn[0, 1])
    close = (texture - crop[:, None, None]).abs().amax((0, 3, 4)) < 1e-6
    assert close.sum() >= 1, "a crop of the modality's own texture"


def test_partners_are_other_digits_of_the_class() -> None:
    y = np.random.default_rng(1).integers(10, size=300)
    found = partners(y, 3, np.random.default_rng(0))
    assert (y[found] == y[:, None]).all() and (found[:, 0] == np.arange(300)).all()
    assert all(len(set(column)) == 300 for column in found.T) and (found[:, 1] != found[:, 2]).mean() > 0.9


def test_more_modalities_leave_the_first_as_they_are() -> None:
    few, many = (make(modalities=m).examples("test")[0] for m in (2, 4))
    assert list(many) == ["m1", "m2", "m3", "m4"] and torch.equal(few["m1"], many["m1"]) and torch.equal(few["m2"], many["m2"])


def test_modalities_of_one_image_without_background_are_equal() -> None:
    equal, _ = make(pairing="image", background=False).examples("valid")
    assert all(torch.equal(equal["m1"], x) for x in equal.values())
    other, _ = make(background=False).examples("valid")
    assert not torch.equal(other["m1"], other["m2"])


def test_methods_see_no_class_and_splits_are_apart() -> None:
    data, test = loaded(make())
    assert set(data.train) == set(data.valid) == {"m1", "m2", "m3", "m4"} and "y" in test
    assert data.spec.names == ("m1", "m2", "m3", "m4") and data.spec.scale == 0.75 / 4
    assert loaded(make(pooled=False))[0].spec.scale == 0.75 and loaded(make(pooled=False))[0].train["m1"].shape[1:] == (3, 28, 28)


def test_mates_are_of_the_class_and_each_comes_once_before_one_comes_again() -> None:
    rng = np.random.default_rng(1)
    y, of = rng.integers(10, size=300), np.arange(100) % 10
    found = mates(y, of, rng)
    assert (of[found] == y).all()
    for label in range(10):
        counts = np.bincount(found[y == label], minlength=100)[of == label]
        assert counts.max() - counts.min() <= 1
    with pytest.raises(UserError, match="none of 90 garments is of class 9"):
        mates(y, of[of < 9], rng)


def test_a_digit_and_a_garment_are_of_one_class() -> None:
    """At smoke, where a negative stands for the garment: its classes are told by the network of digits."""
    task = make("multimodal/digits")
    data, test = loaded(task)
    assert set(data.train) == set(data.valid) == {"m1", "m2"} and data.spec.names == ("m1", "m2")
    assert data.train["m1"].shape[1:] == data.train["m2"].shape[1:] == (1, 14, 14) and data.spec.scale == 0.75 / 4
    _, of = networks.load("cpu", networks.PAIR)
    told_of = [of.classifiers[0](x).argmax(1) == test["y"] for x in (test["m1"], 1 - test["m2"], 1 - test["m2"].roll(1, 0))]
    rates = [float(hits.float().mean()) for hits in told_of]
    assert min(rates[:2]) > 0.4 > 0.25 > rates[2], "the digits of smoke are not MNIST's"
    assert not (test["m1"] == 1 - test["m2"]).flatten(1).all(1).all(), "another image of the class"
    assert make("multimodal/digits", pooled=False).load_train().spec.shape == (1, 28, 28)


def test_each_modality_of_a_pair_has_networks_of_its_own() -> None:
    full, of = networks.load("cpu", networks.PAIR)
    x = torch.rand(4, 1, 14, 14)
    assert full.startswith("pair-cnn-") and len(of.classifiers) == 2
    assert not torch.allclose(of.features(0, x), of.features(1, x)) and of.features(0, x).shape == (4, 24)
    assert not torch.allclose(of.features(0, x), of.classifiers[0].features(x)), "what is scored as coherent is not what distances see"


# --- metrics ---------------------------------------------------------------------------------------------------


def seen(task: Task, method: Any) -> dict[str, float]:
    data, test = loaded(task)
    return scored(type(task), task.observe(method, data, test, [])).metrics


def test_coherence_of_what_knows_and_of_what_is_shifted() -> None:
    task = make(modalities=3)
    _, test = loaded(task)
    x = {name: test[name] for name in task.names}
    knowing, shifted = seen(task, Known(x)), seen(task, Known(x, shift=7))
    _, of = networks.load("cpu")
    right = torch.stack([of.classifiers[m](part).argmax(1) == test["y"] for m, part in enumerate(x.values())], dim=1).float()
    assert knowing["conditional_coherence/given2"] == pytest.approx(float(right.mean())), "each modality is the one left out once"
    assert knowing["conditional_coherence/given1"] == pytest.approx(float(right.mean()))
    # the digits of smoke are not MNIST's, of which the classifiers tell 0.97
    assert knowing["conditional_coherence/mean"] > 0.4 > 0.25 > shifted["conditional_coherence/mean"]
    assert knowing["joint_coherence"] > 3 * shifted["joint_coherence"]
    assert "elbo" not in knowing and "latent_accuracy/all" not in knowing


def test_the_distance_of_a_modality_is_that_of_its_features() -> None:
    task = make(modalities=2)
    _, test = loaded(task)
    x = {name: test[name] for name in task.names}
    noisy = {name: (of + 0.2 * torch.rand(of.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1) for name, of in x.items()}

    class Noisy(Known):
        def sample_joint(self, n: int) -> dict[str, Tensor]:
            return noisy

    found, full = seen(task, Noisy(x)), networks.load("cpu")[0]
    values = [found[f"fd[{full},n=100]/{name}"] for name in x]
    assert found[f"fd[{full},n=100]/mean"] == pytest.approx(np.mean(values))
    features = networks.load("cpu")[1].extractor.features
    real, fake = (features(of["m2"]).double().numpy() for of in (x, noisy))
    c1, c2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    cross = np.real(np.trace(linalg.sqrtm(c1 @ c2)))
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * cross
    assert values[1] == pytest.approx(expected, rel=1e-3)
    assert seen(task, Known(x))[f"fd[{full},n=100]/mean"] == pytest.approx(0.0, abs=1e-6)


def test_one_modality_has_no_coherence() -> None:
    task = make(modalities=1)
    _, test = loaded(task)
    assert not [name for name in seen(task, Known({"m1": test["m1"]})) if "coherence" in name]


def test_classes_are_told_from_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    codes = torch.nn.functional.one_hot(y, 4) + 0.05 * torch.randn(200, 4, generator=generator)
    assert (told(codes[:100], y[:100], codes[100:]) == y[100:].numpy()).all()


def test_the_networks_carry_their_hash_and_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    full, of = networks.load("cpu")
    assert torch.equal(torch.get_rng_state(), state) and full.startswith("poly-cnn-") and len(of.classifiers) == 5
    x = torch.rand(4, 3, 28, 28)
    pooled = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(of.extractor.features(x), of.extractor.features(pooled))


# --- bits ------------------------------------------------------------------------------------------------------


def test_examples_of_bits() -> None:
    for case in CASES:
        x = examples(case)
        assert x.shape == (2 ** (case.modalities + 1), case.modalities, case.private + 1)
        assert (x[:, :, 0] == x[:, :1, 0]).all(), "one shared bit"
        assert entropy(x.flatten(1)) == pytest.approx(1 + case.modalities * (case.private > 0))
        assert entropy(x[:, 0]) == pytest.approx(1 + (case.private > 0))


def test_steps_of_the_gap() -> None:
    task = find("task", "multimodal/toy").load()
    laws = np.array([(case.modalities, case.private) for case in CASES], np.uint8)
    whole = np.array([1.0 + m * (d > 0) for m, d in laws])
    gap = np.array([0.0 if m == 1 or d < 2 else float(d + 3 * (m - 2)) for m, d in laws])
    observed = {
        "laws": laws,
        "elbo_bits": -whole - gap,
        "entropy_bits": whole,
        "unseen_bits": whole * 0 + 1,
        "reconstruction_bits": whole * 0 - 1.5,
    }
    found = task.measure(observed, None)
    assert found["gap_step/private"] == 1.0 and found["gap_step/modalities"] == 2.0 and found["tabular_slack"] == 0.5
    assert found["tabular_gap/m2-d3"] == 3.0 and found["tabular_elbo/m4-d2"] == -13.0
