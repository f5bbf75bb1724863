"""Shifted test images and what is measured on them."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from loading import loaded
from PIL import Image
from scipy import ndimage, stats

from elboard.bench.config import resolve
from elboard.bench.evidence import LIMIT, scored
from elboard.bench.metrics.calibration import classification_metrics
from elboard.bench.metrics.masks import correlation
from elboard.bench.registry import discover, find
from elboard.tasks.parts import shifts
from elboard.tasks.parts.shifts import COLOUR, CORRUPTIONS, KINDS, SEVERITIES, shifted

NAMES = ("calibration/mnist-shifted", "calibration/fashion-mnist-shifted")
CORRUPTED = ("calibration/mnist-corrupted", "calibration/fashion-mnist-corrupted")
X = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Finished:
    """Answers by brightness, and finished with that."""

    finished = None

    def predict(self, x, n_samples=1):
        return torch.stack([torch.stack([(k + 1 + s) * x.mean((1, 2, 3)) for k in range(10)], 1).softmax(1) for s in range(n_samples)])


def make(name=NAMES[0], **options):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shift_is_the_same_each_time_and_grows(kind):
    smooth = torch.from_numpy(ndimage.gaussian_filter(X.numpy(), (0, 0, 3, 3)))
    smooth = (smooth - smooth.amin()) / (smooth.amax() - smooth.amin())
    found = [shifted(smooth, kind, severity) for severity in range(1, SEVERITIES + 1)]
    assert all(of.shape == X.shape and of.dtype == X.dtype and of.min() >= 0 and of.max() <= 1 for of in found)
    assert torch.equal(found[2], shifted(smooth, kind, 3))
    distance = [(of - smooth).square().mean().item() for of in found]
    assert distance[0] > 1e-6 and (distance == sorted(distance) or kind == "rotation")


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize(("kinds", "channels", "side"), [(CORRUPTIONS, 1, 28), (COLOUR, 3, 32)])
def test_a_corruption_is_the_same_each_time_and_grows(kinds, channels, side, kind):
    x = torch.rand(40, channels, side, side, generator=torch.Generator().manual_seed(1))
    x = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 2, 2)))
    x = (x - x.amin()) / (x.amax() - x.amin())
    found = [shifted(x, kind, severity, kinds) for severity in range(1, SEVERITIES + 1)]
    assert all(of.shape == x.shape and of.dtype == x.dtype and of.min() >= 0 and of.max() <= 1 for of in found)
    assert torch.equal(found[2], shifted(x, kind, 3, kinds)) and len(kinds) == 5
    distance = [(of - x).square().mean().item() for of in found]
    assert distance[0] > 1e-7 and distance == sorted(distance)


def test_brightness_is_the_value_of_hsv():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    x[0, :, 0, 0] = 0.0
    brighter = shifts.brighten(x, 0.2).permute(0, 2, 3, 1).reshape(-1, 3)
    for before, after in zip(x.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), brighter.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1)), abs=1e-6)
    torch.testing.assert_close(shifts.brighten(X, 0.2), (X + 0.2).clamp(max=1))


@pytest.mark.parametrize(("side", "few"), [(28, 14), (28, 7), (32, 8)])
def test_pixelation_is_pillows_box_filter_there_and_back(side, few):
    x = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(3))
    picture = Image.fromarray(x[0, 0].numpy())
    theirs = picture.resize((few, few), Image.BOX).resize((side, side), Image.BOX)
    np.testing.assert_allclose(shifts.pixelate(x, few / side)[0, 0], np.asarray(theirs), atol=1e-6)
    assert len(np.unique(shifts.pixelate(X, 0.45)[0, 0])) == 12**2, "whole pixels of a side of 28"


def test_severities_of_colour_images_are_those_of_cifar10_c():
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    flat = torch.full((40, 3, 32, 32), 0.5)
    assert (shifted(flat, "noise", 5, COLOUR) - flat).std().item() == pytest.approx(0.1, rel=0.02)
    theirs = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 1.0, 1.0), mode="nearest")
    np.testing.assert_allclose(shifted(x, "blur", 5, COLOUR), theirs, atol=1e-6)
    assert torch.equal(shifted(flat, "blur", 5, COLOUR), flat), "no dark border"
    torch.testing.assert_close(shifted(x, "contrast", 5, COLOUR).std((1, 2, 3)), 0.15 * x.std((1, 2, 3)))
    assert [int(32 * share + 1e-9) for share in COLOUR["pixelation"][1]] == [30, 28, 27, 24, 20]


@pytest.mark.parametrize("change", [shifts.rotate, shifts.shear, shifts.deform, shifts.noise, shifts.impulse, shifts.occlude])
def test_no_shift_is_the_image(change):
    torch.testing.assert_close(change(X, 0.0), X, atol=1e-6, rtol=0)
    torch.testing.assert_close(shifts.contrast(X, 1.0), X)


def test_shear_is_scipys():
    theirs = ndimage.affine_transform(X[0, 0].double().numpy(), [[1, 0], [0.4, 1]], [0, -0.4 * 13.5], order=1, mode="grid-constant")
    np.testing.assert_allclose(shifts.shear(X[:1], 0.4)[0, 0], theirs, atol=1e-6)


def test_strengths_are_what_they_say():
    flat = torch.full((40, 1, 28, 28), 0.5)
    assert (shifts.noise(flat, 0.1) - flat).std().item() == pytest.approx(0.1, rel=0.02)
    spikes = shifts.impulse(flat, 0.2)
    assert (spikes == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (spikes == 1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    faded = shifts.contrast(X, 0.25)
    torch.testing.assert_close(faded.mean((1, 2, 3)), X.mean((1, 2, 3)))
    torch.testing.assert_close(faded.std((1, 2, 3)), 0.25 * X.std((1, 2, 3)))
    covered = shifts.occlude(torch.zeros(40, 1, 28, 28), 8)
    assert (covered.sum((1, 2, 3)) == 0.5 * 64).all() and len(covered.unique(dim=0)) > 20
    line = torch.zeros(40, 1, 28, 28)
    line[..., 14] = 1
    row = torch.arange(28.0)
    moved = (shifts.deform(line, 2.0)[..., 7:21, :] * row).sum(-1) / shifts.deform(line, 2.0)[..., 7:21, :].sum(-1).clamp_min(1e-6)
    assert 0.7 < (moved - 14).square().mean().sqrt() < 2.1, "sideways, of a length of 2 in both directions"


def test_metrics_are_those_of_the_shifted_images():
    task = make(n_shift=20, n_samples=3)
    data, test = loaded(task)
    scores = scored(task, task.observe(Finished(), data, test, []))
    few, labels = test["x"][::10], test["y"][::10].numpy()
    metrics = scores.metrics
    p = Finished().predict(shifted(few, "blur", 4), 3).mean(0).numpy()
    expected = classification_metrics(p, labels)
    clean = classification_metrics(Finished().predict(few, 3).mean(0).numpy(), labels)
    for name in ("accuracy", "class_nll", "ece"):
        assert metrics[f"{name}/blur-4"] == pytest.approx(expected[name], abs=1e-6)
        assert metrics[name] == pytest.approx(clean[name], abs=1e-6)
        of_kind = [metrics[f"{name}/blur-{i}"] for i in range(1, 6)]
        assert metrics[f"{name}/blur"] == pytest.approx(np.mean(of_kind))
        everything = [metrics[f"{name}/{kind}-{i}"] for kind in KINDS for i in range(1, 6)]
        assert metrics[f"{name}/shifted"] == pytest.approx(np.mean(everything))
    assert len(metrics) == 3 * (1 + len(KINDS) * 6 + 1)


@pytest.mark.parametrize("name", [*CORRUPTED, "calibration/cifar10-corrupted"])
def test_metrics_of_corruptions(name):
    task = make(name, n_shift=20, n_samples=2)
    data, test = loaded(task)
    metrics = scored(task, task.observe(Finished(), data, test, [])).metrics
    few = test["x"][:: len(test["y"]) // 20][:20]
    p = Finished().predict(shifted(few, "pixelation", 4, type(task).kinds), 2).mean(0).numpy()
    expected = classification_metrics(p, test["y"][:: len(test["y"]) // 20][:20].numpy())
    kinds = ("noise", "blur", "contrast", "brightness", "pixelation")
    for of in ("accuracy", "class_nll", "ece"):
        assert metrics[f"{of}/pixelation-4"] == pytest.approx(expected[of], abs=1e-6)
        assert metrics[f"{of}/shifted"] == pytest.approx(np.mean([metrics[f"{of}/{kind}-{i}"] for kind in kinds for i in range(1, 6)]))
    assert len(metrics) == 3 * (1 + len(kinds) * 6 + 1)


@pytest.mark.parametrize("name", (*NAMES, *CORRUPTED))
def test_all_that_metrics_are_of_is_kept(name):
    task = make(name)
    data, test = loaded(task)
    arrays = task.observe(Finished(), data, test, []).arrays | {"reward_correlation": np.zeros(50), "posterior_correlation": np.ones(50)}
    evidence = task.compact(arrays)
    assert set(evidence) == set(arrays) and sum(of.nbytes for of in evidence.values()) < LIMIT // 2
    again = type(task).score(evidence)
    assert again == type(task).score(arrays) and again["reward_correlation"] == 0 and again["posterior_correlation"] == 1


@pytest.mark.parametrize("name", (*NAMES, *CORRUPTED))
def test_the_images_are_those_of_the_task_that_was_trained_on(name):
    other = find("task", name.removesuffix("-shifted").removesuffix("-corrupted"))
    cls, task = other.load(), make(name)
    data, test = loaded(task)
    theirs, their_test = loaded(cls(cls.Config(**other.budgets()["smoke"]["task"]), "smoke", 0))
    for mine, of in ((data.train, theirs.train), (data.valid, theirs.valid), (test, their_test)):
        assert torch.equal(mine["x"], of["x"]) and torch.equal(mine["y"], of["y"])
    for budget in ("lite", "full"):
        pairs = ((name, "trained-classifier"), (other.card.name, "softmax"))
        mine, of = (resolve(*pair, budget=budget).config["task"] for pair in pairs)
        assert all(mine[option] == of[option] for option in ("n_train", "n_valid", "n_test", "n_samples"))


def test_classifiers_of_cifar10_are_those_of_its_detectors():
    """The base is that of ``ood/cifar10``, on whose training, validation and test images it was trained, chosen and tested."""
    task, other = make("calibration/cifar10-corrupted"), find("task", "ood/cifar10")
    data, test = loaded(task)
    theirs, their_test = loaded(other.load()(other.load().Config(**other.budgets()["smoke"]["task"]), "smoke", 0))
    for mine, of in ((data.train, theirs.train), (data.valid, theirs.valid)):
        assert torch.equal(mine["x"], of["x"]) and torch.equal(mine["y"], of["y"])
    seen = {image.numpy().tobytes() for part in (theirs.train, theirs.valid) for image in part["x"]}
    assert not seen & {image.numpy().tobytes() for image in test["x"]} and data.spec.n_classes == theirs.spec.n_classes == 6
    for budget in ("lite", "full"):
        (base,) = resolve("calibration/cifar10-corrupted", "trained-classifier", budget=budget).starts_from()
        assert [base] == resolve("ood/cifar10", "energy", budget=budget).starts_from()
        mine = resolve("calibration/cifar10-corrupted", "trained-classifier", budget=budget).config["task"]
        assert all(mine[option] == base.config["task"][option] for option in ("n_train", "n_valid"))


def test_the_same_runs_as_those_of_the_other_task():
    """A base is the very run of the calibration task: it is trained once for both."""
    spec = resolve(NAMES[0], "trained-classifier", overrides={"base.method": "mc-dropout", "base.dropout": 0.5})
    (base,) = spec.starts_from()
    assert base.key == resolve("calibration/mnist", "mc-dropout", overrides={"dropout": 0.5}).key
    fitting = {name for name, entry in discover("method").items() if "FinishedClassifier" in entry.card.offers}
    assert fitting == {"trained-classifier"}


def test_correlation_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 4))
    b += a
    b[:, 3] = 1.5
    found = correlation(a, b)
    assert found[:3] == pytest.approx([stats.pearsonr(a[:, i], b[:, i])[0] for i in range(3)]) and found[3] == 0
