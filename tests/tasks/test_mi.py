"""Mutual information: pairs have the one that is said, metrics are those of estimates by hand, images are cut as the tests want them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from elboard.bench.metrics.conventions import in_range
from elboard.methods.information.base import donsker_varadhan, nguyen_wainwright_jordan
from elboard.tasks.mi.gaussian import DIMENSIONS, Gaussian, correlation
from elboard.tasks.mi.mnist import MNIST, SIDE


def gaussian(**options: object) -> Gaussian:
    return Gaussian(Gaussian.Config(**options), "lite", 0)


def images(**options: object) -> tuple[MNIST, object]:
    task = MNIST(MNIST.Config(**{"rows": [5, 14], "n_train": 300, "n_images": 100, "n_valid": 2, "n_test": 2, **options}), "smoke", 0)
    return task, task.load_train()


@pytest.mark.parametrize("nats", [0.5, 2, 6, 10])
def test_correlations_have_the_information_that_is_said(nats: float) -> None:
    """By determinants: I = (log|Sx| + log|Sy| - log|S|) / 2."""
    rho = correlation(nats)
    joint = np.eye(2 * DIMENSIONS)
    joint[:DIMENSIONS, DIMENSIONS:] = joint[DIMENSIONS:, :DIMENSIONS] = rho * np.eye(DIMENSIONS)
    assert -np.linalg.slogdet(joint)[1] / 2 == pytest.approx(nats, rel=1e-12)


def test_pairs_have_these_correlations_and_the_cubed_ones_are_cubes() -> None:
    task = gaussian(values=[2.0, 8.0])
    pairs = task.pairs({}, 20_000, torch.Generator().manual_seed(0))
    x, y = pairs["x"].numpy(), pairs["y"].numpy()
    assert np.allclose(y[2:], y[:2] ** 3, rtol=1e-5, atol=0) and (x == x[0]).all()
    for i, nats in enumerate((2.0, 8.0)):
        assert (x[i] * y[i]).mean() == pytest.approx(correlation(nats), abs=0.01)
        assert (y[i] ** 2).mean() == pytest.approx(1, abs=0.01)


def test_the_log_ratio_gives_the_information() -> None:
    """The optimal critic of the Gaussians, by SciPy's densities: its bounds are the information at 1 nat."""
    rho, n = correlation(1.0), 2000
    pairs = gaussian(values=[1.0]).pairs({}, n, torch.Generator().manual_seed(3))
    x, y = pairs["x"][0].double(), pairs["y"][0].double()
    scores = (rho * (x @ y.T) - rho**2 / 2 * (x.square().sum(1)[:, None] + y.square().sum(1))) / (1 - rho**2)
    scores = scores - DIMENSIONS / 2 * math.log(1 - rho**2)
    both, alone = multivariate_normal([0, 0], [[1, rho], [rho, 1]]), multivariate_normal(0, 1)
    by_hand = sum(both.logpdf([a, b]) - alone.logpdf(a) - alone.logpdf(b) for a, b in zip(x[3].numpy(), y[5].numpy(), strict=True))
    assert float(scores[3, 5]) == pytest.approx(by_hand)
    assert float(donsker_varadhan(scores)) == pytest.approx(1.0, abs=0.1)
    assert float(nguyen_wainwright_jordan(scores)) == pytest.approx(1.0, abs=0.1)


def test_metrics_are_those_of_the_estimates() -> None:
    task, rng = gaussian(values=[2.0, 6.0, 8.0], n_test=7), np.random.default_rng(0)
    drawn = rng.normal([2, 5, 9, 1, 6, 8], size=(7, 6))
    rows = iter(drawn)
    seen = task.observe(SimpleNamespace(estimate=lambda x, y: torch.from_numpy(next(rows))), task.load_train(), {}, []).arrays
    found = task.measure(seen, None)
    truth = np.array([2, 6, 8, 2, 6, 8])
    for i, law in enumerate(["plain-2", "plain-6", "plain-8", "cubed-2", "cubed-6", "cubed-8"]):
        assert found[f"mi_bias/{law}"] == pytest.approx(drawn[:, i].mean() - truth[i])
        assert found[f"mi_variance/{law}"] == pytest.approx(drawn[:, i].var())
        assert found[f"mi_mse/{law}"] == pytest.approx(((drawn[:, i] - truth[i]) ** 2).mean())
    roots = np.sqrt(((drawn - truth) ** 2).mean(0))
    assert found["mi_rmse"] == pytest.approx(roots.mean()) and found["mi_rmse/high"] == pytest.approx(roots[[1, 2, 4, 5]].mean())
    logs = np.log(((drawn - truth) ** 2).mean(0))
    assert found["mi_log_mse"] == pytest.approx(logs.mean()) and found["mi_log_mse/high"] == pytest.approx(logs[[1, 2, 4, 5]].mean())
    assert found["mi_log_mse/plain-6"] == pytest.approx(logs[1]) and found["mi_log_variance/cubed-8"] == pytest.approx(
        np.log(drawn[:, 5].var())
    )
    assert all(in_range(name, value) for name, value in found.items())


def test_all_runs_have_the_same_test_batches_and_none_of_them_is_trained_on() -> None:
    task, other = gaussian(n_valid=1, n_test=1), Gaussian(Gaussian.Config(n_test=1), "lite", 5)
    seen: list = []
    watch = SimpleNamespace(estimate=lambda x, y: seen.append(x) or torch.zeros(10))
    for one, part in ((task, "test"), (other, "test"), (task, "valid")):
        one.estimates(watch, {}, part)
    assert seen[0].equal(seen[1]) and not seen[0].equal(seen[2])
    batch = next(iter(task.batches(task.load_train(), {"batch_size": 64}, 0)))
    assert batch["x"].shape == batch["y"].shape == (10, 64, DIMENSIONS) and not batch["x"].equal(seen[0])


def test_parts_of_images_are_those_of_the_tests() -> None:
    task, data = images()
    pairs, area = task.pairs(data.train, 6, torch.Generator().manual_seed(0)), SIDE**2
    x, y = (of.unflatten(-1, (2, SIDE, SIDE)) for of in (pairs["x"], pairs["y"]))
    assert x.shape == (7, 6, 2, SIDE, SIDE) and data.spec.laws == 7 and data.spec.shape == (2 * area,)
    first, second = x[0, :, 0], y[0, :, 0]
    assert len({tuple(image.flatten().tolist()) for image in torch.cat([first, second])}) == 12, "no image twice"
    assert not first.equal(second) and not x[0, :, 1].any() and not y[0, :, 1].any(), "independent images"
    for i, t in enumerate((5, 14)):
        base, twice, both = 1 + i, 3 + i, 5 + i
        assert x[base, :, 0].equal(first) and not x[base, :, 1].any() and not y[base, :, 1].any()
        assert y[base, :, 0, :t].equal(first[:, :t]) and not y[base, :, 0, t:].any()
        assert x[twice, :, 0].equal(first) and x[twice, :, 1].equal(first) and y[twice, :, 0].equal(y[base, :, 0])
        assert y[twice, :, 1, : t - 3].equal(first[:, : t - 3]) and not y[twice, :, 1, t - 3 :].any()
        assert x[both, :, 1].equal(second) and y[both, :, 1, :t].equal(second[:, :t]) and not y[both, :, 1, t:].any()


def test_errors_of_estimates_that_are_consistent_and_of_others() -> None:
    task, _ = images(rows=[5, 8, 14])
    ideal = np.array([0, 1, 2, 4, 1, 2, 4, 2, 4, 8.0])
    found = task.measure({"mean": ideal, "variance": np.ones(10), "rows": np.array([5, 8, 14])}, None)
    assert found["consistency_error"] == found["mi_falls"] == 0 and found["mi_ratio/baseline-8"] == 0.5
    worse = np.array([0.4, 2, 1, 4, 2, 2, 4, 2, 1, 8.0])  # half of the steps fall; ratios (1, 2, 1) and (1, 1, 2)
    found = task.measure({"mean": worse, "variance": np.ones(10), "rows": np.array([5, 8, 14])}, None)
    assert found["independence_error"] == pytest.approx(0.1) and found["mi_falls"] == 0.5
    assert found["processing_error"] == pytest.approx(1 / 3) and found["additivity_error"] == pytest.approx(1 / 3)
    assert found["consistency_error"] == 0.5
    saturated = np.array([0] + [4.16] * 9)  # as of a bound at its ceiling
    found = task.measure({"mean": saturated, "variance": np.ones(10), "rows": np.array([5, 8, 14])}, None)
    assert found["additivity_error"] == pytest.approx(0.5) and found["processing_error"] == 0
