"""The calibration tasks: rotations, splits, slices, averages, the diagram."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import ndimage

from elboard.bench.evidence import scored
from elboard.bench.metrics.calibration import classification_metrics, ece
from elboard.bench.registry import find
from elboard.tasks.calibration.diagram import bins_of, reliability_diagram
from elboard.tasks.parts.shifts import rotate, spread

NAMES = ("calibration/mnist", "calibration/fashion-mnist")
METRICS = ("accuracy", "class_nll", "brier", "ece", "adaptive_ece", "classwise_ece", "entropy")


def make(name=NAMES[0], seed=0, **options):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", seed)


class Answers:
    """A classifier whose probabilities are a function of the image; remembers what it was asked."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def predict(self, x, n_samples=1):
        self.asked.append((x, n_samples))
        return torch.stack([self.function(x, s) for s in range(n_samples)])


def by_brightness(x, s):
    return torch.stack([(k + 1 + s) * x.mean((1, 2, 3)) + 0.1 * k for k in range(10)], 1).softmax(1)


def perfect(test):
    """Knows the clean test images."""
    known = {image.numpy().tobytes(): int(label) for image, label in zip(test["x"], test["y"], strict=True)}

    def function(x, s):
        labels = torch.tensor([known[image.numpy().tobytes()] for image in x])
        return torch.nn.functional.one_hot(labels, 10).float()

    return Answers(function)


def test_rotation_by_nothing_and_by_quarter_turns():
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(rotate(x, 0), x, atol=1e-6, rtol=0)
    for quarter in (1, 2, 3, 4):
        torch.testing.assert_close(rotate(x, 90 * quarter), torch.rot90(x, quarter, (2, 3)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("degrees", [15, 30, 75])
def test_rotation_is_scipys(degrees):
    x = torch.rand(2, 1, 28, 28)
    theirs = ndimage.rotate(x.double().numpy(), degrees, axes=(2, 3), reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotate(x, degrees), theirs, atol=1e-6)


def test_rotation_takes_zeros_from_outside():
    turned = rotate(torch.ones(1, 1, 28, 28), 45)
    assert turned[0, 0, 0, 0] == 0 and turned[0, 0, 14, 14] == 1 and 0.8 < turned.mean() < 0.9


def test_spread():
    assert list(range(10))[spread(10, 5)] == [0, 2, 4, 6, 8]
    assert (
        len(range(397)[spread(397, 200)]) == 200
        and len(range(10)[spread(10, 99)]) == 10
        and len(range(10_000)[spread(10_000, 2000)]) == 2000
    )


@pytest.mark.parametrize("name", NAMES)
def test_data(name):
    (a, test), (b, other) = loaded(make(name, 0)), loaded(make(name, 7))
    parts = {"train": a.train, "valid": a.valid, "test": test}
    for part, same in zip(parts.values(), (b.train, b.valid, other), strict=True):
        assert all(torch.equal(part[field], same[field]) for field in ("x", "y")), "the split is the task's"
    assert a.spec.shape == (1, 28, 28) and a.spec.n_train == len(a.train["y"]) == 400 and a.spec.n_classes == 10
    assert len(a.valid["y"]) == 100 and len(test["y"]) == 200
    rows = {name: {image.numpy().tobytes() for image in part["x"]} for name, part in parts.items()}
    assert not rows["train"] & rows["test"] and not rows["train"] & rows["valid"] and not rows["valid"] & rows["test"]
    torch.manual_seed(1)
    assert torch.equal(make(name, n_train=50).load_train().train["x"], a.train["x"][:50])


def test_slices_and_averages():
    task = make(n_shift=50, angles=[30, 90], n_samples=3)
    data, test = loaded(task)
    model = Answers(by_brightness)
    scores = scored(task, task.observe(model, data, test, []))
    metrics, _ = scores.metrics, scores.evidence
    expected = {f"{name}{part}" for name in METRICS for part in ("", "/shift", "/rot30", "/rot90")}
    assert set(metrics) == expected and all(n == 3 for _, n in model.asked)

    def averaged(x):
        return torch.stack([by_brightness(x, s) for s in range(3)]).mean(0).numpy()

    clean = classification_metrics(averaged(test["x"]), test["y"].numpy())
    few, labels = test["x"][::4], test["y"][::4].numpy()
    turned = classification_metrics(averaged(torch.rot90(few, 1, (2, 3))), labels)
    for name in METRICS:
        assert metrics[name] == pytest.approx(clean[name], abs=1e-6)
        assert metrics[f"{name}/rot90"] == pytest.approx(turned[name], abs=1e-4)
        mean = (metrics[f"{name}/rot30"] + metrics[f"{name}/rot90"]) / 2
        assert metrics[f"{name}/shift"] == pytest.approx(mean)


def test_evidence_gives_the_metrics_again():
    task = make()
    data, test = loaded(task)
    scores = scored(task, task.observe(Answers(by_brightness), data, test, []))
    metrics, found = scores.metrics, scores.evidence
    assert found["log_p"].dtype == found["log_p_rot30"].dtype == np.float16 and found["angles"].tolist() == [30, 90]
    for part, labels, ending in (("log_p", "y", ""), ("log_p_rot30", "y_shift", "/rot30")):
        again = classification_metrics(np.exp(found[part].astype(np.float64)), found[labels])
        for name in ("accuracy", "class_nll", "brier", "entropy"):
            assert again[name] == pytest.approx(metrics[name + ending], rel=2e-3)


def test_a_perfect_classifier():
    task = make(angles=[])
    data, test = loaded(task)
    p = task.probabilities(perfect(test), test["x"], 3)
    metrics = classification_metrics(p, test["y"].numpy())
    assert metrics["accuracy"] == 1 and all(metrics[name] == 0 for name in METRICS if name != "accuracy")


def test_validation_is_cheaper_and_leaves_the_test_alone():
    task = make(valid_samples=2, n_samples=30)
    data, test = loaded(task)
    model = Answers(by_brightness)
    assert task.validate(model, data)["class_nll"] > 0
    assert [n for _, n in model.asked] == [2] and torch.equal(torch.cat([x for x, _ in model.asked]), data.valid["x"])


def test_diagram():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(10, 0.3), 500)
    y = p.argmax(1) * (rng.random(500) < 0.5)
    confidence, accuracy, share = bins_of(p, y)
    assert share.sum() == pytest.approx(1) and (share * np.abs(confidence - accuracy)).sum() == pytest.approx(ece(p, y))
    one, two = reliability_diagram({"clean": (p, y)}), reliability_diagram({"clean": (p, y), "rotated": (p[:50], y[:50])})
    assert one.dtype == two.dtype == np.uint8 and one.ndim == 3 and one.shape[2] == 3 and two.shape == (one.shape[0], 2 * one.shape[1], 3)
    assert len(np.unique(one.reshape(-1, 3), axis=0)) >= 5 and not np.array_equal(one, reliability_diagram({"clean": (p, p.argmax(1))}))
