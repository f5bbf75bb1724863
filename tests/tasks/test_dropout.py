"""The tasks of random masks: what is measured of known predictions and gradients, and the oracles of their metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import cosine_similarity

from elboard.bench import stopping
from elboard.bench.config import resolve
from elboard.bench.metrics.masks import direction_error, direction_variance, symmetric_divergence
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.tasks.parts.augmentation import crop_and_flip

NAMES = ("dropout/fashion-mnist", "dropout/fashion-crops")


def make(name=NAMES[0], **options):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


class Known:
    """Predicts by brightness; its masks multiply the logits by factors drawn in turn, its gradients are those given."""

    def __init__(self, factors=(1.0,)):
        self.factors = factors

    def logits(self, x):
        return torch.stack([(k + 1) * x.mean((1, 2, 3)) * 3 for k in range(10)], 1)

    def predict(self, x, n_samples=1):
        return self.logits(x).softmax(1)[None]

    def masked(self, x, n):
        return torch.stack([(self.factors[s % len(self.factors)] * self.logits(x)).softmax(1) for s in range(n)])

    def gradient(self, batch, masks=True):
        mean = batch["x"].mean(0).flatten()
        return mean - 0.1 if masks else mean


def test_divergence_is_scipys():
    p, q = (np.random.default_rng(i).dirichlet(np.ones(5), 20) for i in (0, 1))
    expected = [0.5 * (stats.entropy(a, b) + stats.entropy(b, a)) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(symmetric_divergence(p, q), expected, rtol=1e-10)
    assert symmetric_divergence(p, p).max() == 0 and np.isfinite(symmetric_divergence(np.eye(5)[:1], np.eye(5)[1:2])).all()


def test_directions_are_scipys_and_scikit_learns():
    rows = np.random.default_rng(0).normal(size=(6, 30)) + 0.5
    assert direction_variance(rows) == pytest.approx(0.5 * pdist(rows, "cosine").mean(), rel=1e-12)
    assert direction_error(rows, rows.mean(0)) == pytest.approx(0.5 * (1 - cosine_similarity(rows, rows.mean(0)[None])).mean(), rel=1e-12)
    assert direction_variance(np.array([[1.0, 0], [-3, 0]])) == 1 and direction_variance(np.array([[1.0, 0], [5, 0]])) == 0
    assert direction_error(np.zeros((2, 3)), np.ones(3)) == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_metrics_of_known_predictions(name):
    task, method = make(name, n_masks=5), Known((1.0, 0.5))
    data, test = loaded(task)
    found = task.score(task.observe(method, data, test, []).arrays)
    p, y, q = method.predict(test["x"])[0], test["y"], method.masked(test["x"], 2)
    assert found["accuracy"] == pytest.approx((p.argmax(1) == y).float().mean().item())
    assert found["class_nll"] == pytest.approx(torch.nn.functional.nll_loss(p.log(), y).item(), rel=1e-5)
    assert found["mc_gap"] == pytest.approx(abs((torch.nn.functional.nll_loss(q.mean(0).log(), y)).item() - found["class_nll"]), rel=1e-4)
    assert found["mask_divergence"] == pytest.approx(symmetric_divergence(*q.numpy()).mean(), rel=1e-5)
    few = {part: data.train[part][:200] for part in "xy"}
    expected = torch.nn.functional.nll_loss(method.predict(few["x"])[0].log(), few["y"]).item()
    assert found["train_nll"] == pytest.approx(expected, rel=1e-5)
    same = task.score(task.observe(Known(), data, test, []).arrays)
    assert same["mask_divergence"] == 0 and same["mc_gap"] < 1e-6


def test_training_images_are_augmented_and_those_that_are_measured_are_not():
    plain, crops = (make(name).load_train() for name in NAMES)
    assert plain.on_batch is None and crops.on_batch is not None
    assert torch.equal(plain.train["x"], crops.train["x"])


def test_directions_over_epochs():
    task = make(NAMES[1], batches=3, size=20, n_full=70, early=2)
    data, test = loaded(task)
    tracked = task.track(Known(), data, test)
    x = crop_and_flip({"x": data.train["x"][:70]}, torch.Generator().manual_seed(0))["x"]
    rows = torch.stack([x[i * 20 : i * 20 + 20].mean(0).flatten() - 0.1 for i in range(3)]).double().numpy()
    whole = x.mean(0).flatten().double().numpy()
    assert tracked["gdv"] == pytest.approx(direction_variance(rows), abs=1e-6)
    assert tracked["gde"] == pytest.approx(direction_error(rows, whole), abs=1e-6)
    history = [{"epoch": float(i), "track/gdv": 0.1 * (i + 1), "track/gde": 0.2 * (i + 1)} for i in range(4)]
    found = task.score(task.observe(Known(), data, test, history).arrays)
    assert found["gdv"] == pytest.approx(0.4) and found["gdv/early"] == pytest.approx(0.15) and found["gde/early"] == pytest.approx(0.3)
    sparse = [row for row in history if row["epoch"] % 2]  # of those validated every second time
    found = task.score(task.observe(Known(), data, test, sparse).arrays)
    assert found["gdv/early"] == pytest.approx(0.2) and found["gdv"] == pytest.approx(0.4)
    short = make(NAMES[1], early=1)
    found = short.score(short.observe(Known(), data, test, sparse).arrays)
    assert found["gdv/early"] == pytest.approx(0.2), "at least the first one that was validated"
    assert "gdv" not in task.score(task.observe(Known(), data, test, []).arrays)


def test_a_run_that_stops_within_a_schedule_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    """Masks of the rest of the schedule, crops, and directions over epochs with the masks that there were at each."""
    spec = resolve(NAMES[1], "early-dropout", budget="smoke", overrides={"cutoff": 0.75, "dropout": 0.3})
    whole = execute(spec, tmp_path / "whole")
    asked = iter([False] * 10 + [True])  # the third batch of the second of two epochs of eight: 11 of 16 steps, before the cutoff
    with monkeypatch.context() as patch, pytest.raises(stopping.Preempted):
        patch.setattr(stopping, "requested", lambda: next(asked, False))
        execute(spec, tmp_path / "broken")
    resumed = execute(spec, tmp_path / "broken")
    assert resumed.metrics == whole.metrics and {"gdv/early", "gde/early", "gdv", "gde"} <= set(whole.metrics)
    assert whole.metrics["mask_divergence"] == 0, "no masks are left at the end"
