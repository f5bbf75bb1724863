"""Rates, lines and distances against NumPy, SciPy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import linregress, wasserstein_distance

from elboard.bench.metrics.rates import (
    WIDTHS,
    directions,
    line,
    normal_discrepancy,
    predicted_rate,
    rate,
    sample_discrepancy,
    sliced_wasserstein,
    within,
)


def test_a_power_of_n_has_its_exponent_as_rate() -> None:
    n = np.array([50, 100, 200, 400, 800])
    assert rate(n, 7.0 * n**-0.37, 0.0) == pytest.approx(0.37, abs=1e-12)
    noisy = 7.0 * n**-0.5 * np.exp(np.random.default_rng(0).normal(size=5) / 3)
    assert rate(n, noisy, 0.0) == pytest.approx(-linregress(np.log(n), np.log(noisy)).slope, abs=1e-12)
    assert rate(n, np.array([1.0, 0.1, 0.01, -1.0, 1e-9]), 0.01) == pytest.approx(rate(n, np.array([1, 0.1, 0.01, 0.01, 0.01]), 0.0))


def test_predicted_exponents() -> None:
    assert [predicted_rate(d) for d in (1, 2, 4, 8)] == pytest.approx([1 / 3, 1 / 4, 1 / 6, 1 / 10])


def test_a_line_is_scipys() -> None:
    x, y = np.array([0, 0.05, 0.1, 0.2]), np.array([1.0, 1.4, 1.5, 2.9])
    found = linregress(x, y)
    assert line(x, y) == pytest.approx((found.slope, found.rvalue**2), abs=1e-12)
    assert line(x, 3 - 2 * x) == pytest.approx((-2, 1)) and line(x, np.ones(4)) == (0.0, 1.0)


def test_sliced_distances_are_scipys_along_each_direction() -> None:
    rng = np.random.default_rng(0)
    a, b, along = rng.normal(size=(60, 3)), 1 + 2 * rng.normal(size=(60, 3)), directions(3, 7)
    wanted = np.mean([wasserstein_distance(a @ t, b @ t) for t in along]) * math.sqrt(3)
    assert sliced_wasserstein(a, b, along) == pytest.approx(wanted, rel=1e-10)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1)


def test_an_embedding_hardly_changes_a_sliced_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 16)), 1 + rng.normal(size=(300, 16))
    q, _ = np.linalg.qr(rng.normal(size=(256, 16)))
    found = [sliced_wasserstein(x, y, directions(x.shape[1], 2000)) for x, y in ((a, b), (a @ q.T, b @ q.T))]
    assert found[0] == pytest.approx(found[1], rel=0.05)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = ((a[:, None] - b) ** 2).sum(2)
    return sum(np.exp(-squared / (2 * h**2)) for h in WIDTHS) / len(WIDTHS)


def test_the_discrepancy_from_a_normal_law_is_that_from_draws_of_it() -> None:
    rng = np.random.default_rng(0)
    z, normal = 0.7 * rng.normal(size=(40, 2)) + 0.5, rng.normal(size=(3000, 2))
    within, of_normal = kernel(z, z), kernel(normal, normal)
    wanted = (within.sum() - 40) / (40 * 39) - 2 * kernel(z, normal).mean() + (of_normal.sum() - 3000) / (3000 * 2999)
    assert normal_discrepancy(z) == pytest.approx(wanted, abs=0.01)
    assert abs(np.mean([normal_discrepancy(rng.normal(size=(200, 2))) for _ in range(200)])) < 5e-4
    assert normal_discrepancy(3 + rng.normal(size=(200, 2))) > 0.5


def test_the_discrepancy_of_samples_is_the_unbiased_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1300, 3)), 0.5 + rng.normal(size=(70, 3))
    wanted = (kernel(a, a).sum() - 1300) / (1300 * 1299) + (kernel(b, b).sum() - 70) / (70 * 69) - 2 * kernel(a, b).mean()
    assert sample_discrepancy(a, b) == pytest.approx(wanted, abs=1e-9) == sample_discrepancy(a, b, within(b))
    same = [sample_discrepancy(*rng.normal(size=(2, 100, 3)).astype(np.float32)) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(300) and np.std(same) < 1 / 100, "the floor is above the noise"
