"""The task of encoders from two views: oracles of its metrics, and what it measures of encoders that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loading import loaded
from scipy import ndimage, optimize, stats
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.kinds.selfsup import UncertainViews, ViewEncoder
from elboard.bench.metrics.dynamics import spearman
from elboard.bench.metrics.selfsup import accuracy_by_certainty, embedding_std, linear_probe, nearest_classes, rise, trend
from elboard.bench.registry import discover, find
from elboard.tasks.parts.augmentation import two_views, view_of
from elboard.tasks.selfsup.fashion_mnist import BLURS, SQUARES, blurred, covered

NAME = "selfsup/fashion-mnist"
RNG = np.random.default_rng(0)


def make(**options: object):
    entry = find("task", NAME)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


class Known(ViewEncoder):
    """Features are pixels of a coarse grid, embeddings the same up to a factor of the prediction."""

    def represent(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 4).flatten(1)

    def target(self, x: Tensor) -> Tensor:
        return self.represent(x)

    def predicted(self, x: Tensor) -> Tensor:
        return 0.9 * self.represent(x)


class Dark(Known, UncertainViews):
    """Uncertain about images with little ink."""

    def uncertainty(self, x: Tensor) -> Tensor:
        return -x.mean((1, 2, 3))


class Collapsed(Dark):
    """Sees the same in all images."""

    def represent(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 7)

    def uncertainty(self, x: Tensor) -> Tensor:
        return torch.ones(len(x))


def test_the_probe_minimises_the_penalised_cross_entropy() -> None:
    """Against the objective itself, minimised by SciPy."""
    known, y, others = RNG.normal(size=(60, 3)) * [1, 5, 0.1] + 2, RNG.integers(3, size=60), RNG.normal(size=(20, 3)) + 2
    mean, scale = known.mean(0), known.std(0)

    def logits(w: np.ndarray, x: np.ndarray) -> np.ndarray:
        return (x - mean) / scale @ w[:9].reshape(3, 3) + w[9:]

    def objective(w: np.ndarray) -> float:
        z = logits(w, known)
        return float((np.logaddexp.reduce(z, axis=1) - z[np.arange(60), y]).sum() + 2.0 * (w[:9] ** 2).sum() / 2)

    w = optimize.minimize(objective, np.zeros(12), method="BFGS", options={"gtol": 1e-6}).x
    z = logits(w, others)
    expected = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    np.testing.assert_allclose(linear_probe(known, y, others, 3, penalty=2.0), expected, atol=2e-3)


def test_a_probe_of_few_classes_and_of_constant_features() -> None:
    x = np.ones((4, 2), np.float32)
    assert linear_probe(x, np.array([2, 2, 2, 2]), x, 4).tolist() == [[0, 0, 1, 0]] * 4
    p = linear_probe(x, np.array([0, 3, 3, 3]), x, 4)
    assert np.isfinite(p).all() and not p[:, 1:3].any() and (p.argmax(1) == 3).all()


def test_neighbours_are_scikit_learns() -> None:
    known, y, others = RNG.normal(size=(200, 5)), RNG.integers(6, size=200), RNG.normal(size=(80, 5))
    expected = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(known, y).predict(others)
    assert np.array_equal(nearest_classes(known, y, others), expected)
    assert np.array_equal(nearest_classes(known * 3, y, others * 0.1), expected), "lengths play no part"
    assert nearest_classes(known[:3], np.array([4, 1, 1]), others).tolist() == [1] * 80


def test_accuracy_by_certainty_is_by_scipys_ranks() -> None:
    uncertainty, hit = RNG.normal(size=100), RNG.random(100) < 0.5
    part = (stats.rankdata(-uncertainty) - 1) // 20
    expected = [hit[part == i].mean() for i in range(5)]
    np.testing.assert_allclose(accuracy_by_certainty(hit, uncertainty), expected, rtol=1e-12)
    assert accuracy_by_certainty(np.arange(10) < 5, -np.arange(10)).tolist() == [1, 1, 0.5, 0, 0], "the least certain first"
    assert trend(np.array([0.1, 0.2, 0.3, 0.5, 0.9])) == 1 and trend(np.array([3.0, 2, 1])) == -1 and trend(np.ones(4)) == 0
    values = RNG.integers(4, size=30).astype(float)
    assert spearman(values, uncertainty[:30]) == pytest.approx(stats.spearmanr(values, uncertainty[:30]).statistic, abs=1e-12)


def test_spread_of_uniform_and_of_collapsed_embeddings() -> None:
    assert embedding_std(RNG.normal(size=(20_000, 32)) * RNG.random((20_000, 1))) == pytest.approx(1, abs=0.02)
    assert embedding_std(np.ones((50, 8)) * 3) == pytest.approx(0, abs=1e-9)
    assert embedding_std(np.zeros((5, 8))) == 0
    rows = RNG.normal(size=(40, 6)) + 1
    by_torch = F.normalize(torch.tensor(rows)).std(0, correction=0).mean() * 6**0.5
    assert embedding_std(rows) == pytest.approx(by_torch.item(), rel=1e-12)


def test_rise_is_mann_whitneys_share_of_pairs() -> None:
    before, after = np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 1, 9])
    assert rise(before, after) == (2 + 0.5) / 4


def test_views_are_two_of_each_image_and_differ_in_what_they_leave() -> None:
    x = torch.linspace(0, 1, 28).view(1, 1, 1, 28).expand(400, 1, 28, 28).contiguous()
    batch = two_views({"x": x, "y": torch.arange(400)}, torch.Generator().manual_seed(0))
    again = two_views({"x": x, "y": torch.arange(400)}, torch.Generator().manual_seed(0))
    assert all(torch.equal(batch[name], again[name]) for name in ("x", "view", "y")) and set(batch) == {"x", "view", "y"}
    assert batch["x"].shape == batch["view"].shape == x.shape and not torch.equal(batch["x"], batch["view"])
    assert batch["x"].min() >= 0 and batch["x"].max() <= 1 and torch.equal(batch["y"], torch.arange(400))
    slope = batch["x"][:, 0, :, -9:].mean((1, 2)) - batch["x"][:, 0, :, :9].mean((1, 2))
    assert 0.4 < (slope < 0).float().mean() < 0.6, "half of them are mirrored"
    assert slope.abs().std() > 0.05, "and their crops are of different sizes"
    noise = (batch["x"][:, 0, 1:] - batch["x"][:, 0, :-1]).std((1, 2))
    assert noise.min() < 0.02 and noise.max() > 0.1


def test_a_whole_crop_without_noise_is_the_image_or_its_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CROP", (1.0, 1.0)), ("ASPECT", (1.0, 1.0)), ("CONTRAST", (1.0, 1.0)), ("NOISE", (0.0, 0.0))):
        monkeypatch.setattr(f"elboard.tasks.parts.augmentation.{name}", value)
    x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    found = view_of(x, torch.Generator().manual_seed(0))
    kept = [(of - image).abs().max() < 1e-4 for of, image in zip(found, x, strict=True)]
    mirrored = [(of.flip(-1) - image).abs().max() < 1e-4 for of, image in zip(found, x, strict=True)]
    assert all(a or b for a, b in zip(kept, mirrored, strict=True)) and any(kept) and any(mirrored)


def test_blurs_are_scipys() -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    for deviation, found in zip(BLURS, blurred(x), strict=True):
        expected = [
            ndimage.gaussian_filter(of[0], deviation, mode="constant", truncate=np.ceil(3 * deviation) / deviation) for of in x.numpy()
        ]
        np.testing.assert_allclose(found[:, 0].numpy(), expected, atol=1e-5)


def test_squares_cover_as_much_as_they_say_each_more_than_the_last() -> None:
    x = torch.ones(50, 1, 28, 28)
    found = covered(x)
    for side, of in zip(SQUARES, found, strict=True):
        assert ((1 - of).sum((1, 2, 3)) == side**2).all()
    assert torch.equal(found[0], covered(x)[0]) and len({of.numpy().tobytes() for of in found[0]}) > 10
    assert all((larger <= smaller).float().mean() > 0.99 for smaller, larger in zip(found, found[1:], strict=False))


def test_metrics_of_an_encoder_that_is_known() -> None:
    task = make()
    data, test = loaded(task)
    found = scored(type(task), task.observe(Dark(), data, test, [])).metrics
    assert found["probe_accuracy"] > 0.7 and found["knn_accuracy"] > 0.6, "of digits, by their coarse pixels"
    assert found["uncertainty_trend/occlusion"] == 1 and found["uncertainty_rise/occlusion"] > 0.95, "squares take ink away"
    ink = test["x"].mean((1, 2, 3)).numpy()
    assert found["uncertainty"] == pytest.approx(-ink[: task.config.n_shown].mean(), rel=1e-4)
    fifths = [found[f"quantile_accuracy/q{i}"] for i in range(1, 6)]
    assert np.mean(fifths) == pytest.approx(found["probe_accuracy"]) and found["quantile_gap"] == fifths[-1] - fifths[0]
    assert set(task.score(task.observe(Known(), data, test, []).arrays)) == {"probe_accuracy", "knn_accuracy", "embedding_std"}


def test_the_difference_of_views_is_of_the_target_and_the_prediction() -> None:
    task = make(pairs=1)
    data, test = loaded(task)
    seen = task.observe(Dark(), data, test, []).arrays
    generator = torch.Generator().manual_seed(0)
    to, of = (view_of(test["x"][: task.config.n_shown], generator) for _ in range(2))
    expected = (F.avg_pool2d(to, 4) - 0.9 * F.avg_pool2d(of, 4)).flatten(1).square().mean(1)
    np.testing.assert_allclose(seen["view_difference"], expected.numpy(), rtol=1e-4)
    rho = stats.spearmanr(-of.mean((1, 2, 3)).numpy(), expected.numpy()).statistic
    assert task.score(seen)["view_spearman"] == pytest.approx(rho, abs=1e-4) == pytest.approx(task.score(seen)["view_spearman/single"])


def test_a_collapsed_encoder_is_seen() -> None:
    task = make()
    data, test = loaded(task)
    found = task.score(task.observe(Collapsed(), data, test, []).arrays)
    assert found["embedding_std"] < 1e-6 and found["probe_accuracy"] < 0.3 and found["knn_accuracy"] < 0.3
    assert found["view_spearman"] == found["uncertainty_trend/blur"] == 0 and found["uncertainty_rise/blur"] == 0.5
    assert task.validate(Collapsed(), data)["embedding_std"] < 1e-6


def test_evidence_gives_the_metrics_again() -> None:
    task = make()
    data, test = loaded(task)
    found = scored(type(task), task.observe(Dark(), data, test, []))
    again = task.score(found.evidence)
    assert set(again) == set(found.metrics)
    assert all(again[name] == pytest.approx(value, abs=task.tolerance(name, found.evidence)) for name, value in found.metrics.items())


def test_probes_see_training_images_alone() -> None:
    """The test images' classes do not change what is learned: only what is counted."""
    task = make()
    data, test = loaded(task)
    arrays = task.observe(Known(), data, test, []).arrays
    other = {**test, "y": (test["y"] + 1) % 10}
    moved = task.observe(Known(), data, other, []).arrays
    assert not (arrays["hit"] & moved["hit"]).any()
    assert task.validate(Known(), data) == task.validate(Known(), data)


def test_who_is_shown_classes_is_an_oracle() -> None:
    cards = {name: entry.card for name, entry in discover("method").items() if entry.card.family == "selfsup"}
    assert {name for name, card in cards.items() if card.oracle} == {"supervised"}
    assert {name for name, card in cards.items() if "UncertainViews" in card.offers} == {
        "vi-simsiam", "vssl-gaussian", "vssl-cosine", "supervised",
    }  # fmt: skip
