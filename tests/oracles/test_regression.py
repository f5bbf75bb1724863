"""Scores of Gaussian mixtures against SciPy's distributions, numerical integration and formulae typed here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import root_mean_squared_error

from elboard.bench.metrics import regression

Law = Callable[[float], float]
N = 7
RNG = np.random.default_rng(0)
Y = RNG.normal(size=N)


def mixture(components: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(components)
    return rng.normal(size=(components, N)), rng.uniform(0.2, 1.5, (components, N))


def law(components: int, i: int) -> tuple[Law, Law]:
    """Density and distribution function of the i-th mixture, by SciPy."""
    mean, sd = (of[:, i] for of in mixture(components))
    return (lambda x: norm.pdf(x, mean, sd).mean()), (lambda x: norm.cdf(x, mean, sd).mean())


@pytest.mark.parametrize("components", [1, 4])
def test_density_distribution_function_and_quantiles(components: int) -> None:
    mean, sd = mixture(components)
    for i in range(N):
        density, function = law(components, i)
        assert regression.log_density(mean, sd, Y)[i] == pytest.approx(np.log(density(Y[i])), abs=1e-12)
        assert regression.cdf(mean, sd, Y)[i] == pytest.approx(function(Y[i]), abs=1e-12)
        for p in (0.025, 0.4, 0.95):
            assert regression.quantile(mean, sd, p)[i] == pytest.approx(quantile(function, p), abs=1e-9)


@pytest.mark.parametrize("components", [1, 4])
def test_crps_is_the_integral_of_the_squared_difference_of_distribution_functions(components: int) -> None:
    found = regression.crps(*mixture(components), Y)
    for i in range(N):
        assert found[i] == pytest.approx(integral(law(components, i)[1], Y[i]), abs=1e-7)


def quantile(function: Law, p: float) -> float:
    return brentq(lambda x: function(x) - p, -20, 20, xtol=1e-13)


def integral(function: Law, y: float) -> float:
    below = quad(lambda x: function(x) ** 2, -25, y, limit=200)[0]
    return below + quad(lambda x: (1 - function(x)) ** 2, y, 25, limit=200)[0]


def test_crps_of_one_gaussian_is_the_textbooks() -> None:
    """Gneiting and Raftery 2007, eq. 21."""
    mean, sd = mixture(1)
    z = (Y - mean[0]) / sd[0]
    expected = sd[0] * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(regression.crps(mean, sd, Y), expected, atol=1e-12)


def test_crps_without_width_is_the_absolute_error_and_that_of_an_ensemble() -> None:
    mean, _ = mixture(5)
    none = np.zeros_like(mean)
    np.testing.assert_allclose(regression.crps(mean[:1], none[:1], Y), np.abs(Y - mean[0]), atol=1e-12)
    ensemble = np.abs(mean - Y).mean(0) - np.abs(mean[:, None] - mean[None]).mean((0, 1)) / 2
    np.testing.assert_allclose(regression.crps(mean, none, Y), ensemble, atol=1e-12)
    assert np.isfinite(regression.crps(mean[:1], none[:1], mean[0])).all()


def test_equal_components_are_one() -> None:
    mean, sd = (np.repeat(of, 6, axis=0) for of in mixture(1))
    for name, array in regression.of_each(mean, sd, Y).items():
        np.testing.assert_allclose(array, regression.of_each(*mixture(1), Y)[name], atol=1e-9, err_msg=name)


@pytest.mark.parametrize("components", [1, 4])
def test_expectations_under_a_known_law(components: int) -> None:
    mean, sd = mixture(components)
    noise = 0.6
    each = regression.of_each_law(mean, sd, Y, noise)
    ends = regression.intervals(mean, sd)
    for i in range(N):
        one = mean[:, i : i + 1], sd[:, i : i + 1]

        def expected(of, i: int = i) -> float:
            return quad(lambda y: of(np.array([y])) * norm.pdf(y, Y[i], noise), Y[i] - 8 * noise, Y[i] + 8 * noise, limit=200)[0]

        assert each["log_density"][i] == pytest.approx(expected(lambda y, one=one: regression.log_density(*one, y)[0]), abs=1e-6)
        assert each["crps"][i] == pytest.approx(expected(lambda y, one=one: regression.crps(*one, y)[0]), abs=1e-7)
        for k in range(3):
            low, high = ends[i, k]
            assert each["cover"][i, k] == pytest.approx(norm.cdf(high, Y[i], noise) - norm.cdf(low, Y[i], noise), abs=1e-12)
            assert each["width"][i, k] == pytest.approx(high - low, abs=1e-12)


@pytest.mark.parametrize("spread", [3.0, 30.0, 300.0])
@pytest.mark.parametrize("components", [1, 2, 20])
def test_the_expected_density_of_components_as_wide_as_the_noise_is_exact_however_far_apart(components: int, spread: float) -> None:
    """Against 40,001 nodes; narrower components cost what the function says."""
    rng = np.random.default_rng(components)
    mean, sd, truth = spread * rng.normal(size=(components, N)), rng.uniform(3, 6, (components, N)), spread * rng.normal(size=N)
    z = np.linspace(-8, 8, 40_001)
    weights = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    found = regression.expected_log_density(mean, sd, truth, 3.0)
    for i in range(N):
        density = np.logaddexp.reduce(norm.logpdf(truth[i] + 3 * z, mean[:, i, None], sd[:, i, None]), axis=0) - np.log(components)
        assert found[i] == pytest.approx(weights @ density, abs=1e-7)
    apart, narrow = np.array([[0.0], [10.0]]), np.ones((2, 1))
    density = np.logaddexp.reduce(norm.logpdf(4 + 3 * z, apart, 1.0), axis=0) - np.log(2)
    assert 1e-7 < abs(regression.expected_log_density(apart, narrow, np.array([4.0]), 3.0)[0] - weights @ density) < 1e-4


def test_moments_are_those_of_draws() -> None:
    mean, sd = mixture(4)
    found = regression.moments(mean, sd)
    of = np.random.default_rng(1)
    pick = of.integers(4, size=400_000)
    drawn = mean[pick] + sd[pick] * of.normal(size=(400_000, N))
    np.testing.assert_allclose(found["mean"], drawn.mean(0), atol=0.01)
    np.testing.assert_allclose(found["sd"], drawn.std(0), atol=0.01)


def test_metrics() -> None:
    mean, sd = mixture(4)
    found = regression.regression_metrics(regression.of_each(mean, sd, Y))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(Y, mean.mean(0)), abs=1e-12)
    assert found["target_nll"] == pytest.approx(-np.mean([np.log(law(4, i)[0](Y[i])) for i in range(N)]), abs=1e-12)
    errors = []
    for level in (50, 90, 95):
        low, high = (np.array([quantile(law(4, i)[1], p) for i in range(N)]) for p in ((100 - level) / 200, (100 + level) / 200))
        assert found[f"coverage@{level}"] == np.mean((low <= Y) & (high >= Y))
        assert found[f"interval_width@{level}"] == pytest.approx((high - low).mean(), abs=1e-9)
        errors.append(abs(found[f"coverage@{level}"] - level / 100))
    assert found["coverage_error"] == pytest.approx(np.mean(errors), abs=1e-12)


def test_the_law_itself_has_the_coverage_that_it_says_and_the_least_scores() -> None:
    truth, noise = Y, 0.7
    own = regression.regression_metrics(regression.of_each_law(truth[None], np.full((1, N), noise), truth, noise))
    assert own["coverage_error"] == pytest.approx(0, abs=1e-12) and own["rmse"] == 0
    assert own["target_nll"] == pytest.approx(norm(0, noise).entropy(), abs=1e-9)
    assert own["crps"] == pytest.approx(noise / np.sqrt(np.pi), abs=1e-12)
    for mean, sd in ((truth + 0.2, noise), (truth, 1.2 * noise), (truth, 0.8 * noise)):
        other = regression.regression_metrics(regression.of_each_law(mean[None], np.full((1, N), sd), truth, noise))
        assert other["crps"] > own["crps"] and other["target_nll"] > own["target_nll"]
