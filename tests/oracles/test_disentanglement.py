"""Scores of disentanglement against a perfect code, a rotated one and noise, closed forms, and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.metrics import mutual_info_score

from elboard.bench.metrics import disentanglement as metrics

SIZES, N = (3, 6, 8, 8), 4000
CONTINUOUS = (False, True, True, True)


def factors(n: int = N) -> np.ndarray:
    return np.stack([np.random.default_rng(k).integers(0, size, n) for k, size in enumerate(SIZES)], axis=1)


def perfect(n: int = N) -> np.ndarray:
    """One code a factor, standardised, in another order, and one code of noise."""
    of = (factors(n) - factors(n).mean(0)) / factors(n).std(0)
    return np.column_stack([of[:, ::-1], np.random.default_rng(9).normal(size=n) * 0.3])


def rotated(n: int = N) -> np.ndarray:
    """Every code mixes all factors to equal parts, and nothing is lost."""
    return perfect(n)[:, :4] @ hadamard(4) / 2


def noise(n: int = N) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n, 4))


def scores(codes: np.ndarray) -> dict[str, float]:
    of = factors(len(codes))
    information, (importances, accuracy) = metrics.information(codes, of), metrics.importances(codes, of)
    disentanglement, completeness = metrics.dci(importances)
    return {
        "mig": metrics.mig(information, metrics.entropies(of)),
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": float(accuracy.mean()),
        "sap": metrics.sap(metrics.predictability(codes, of, CONTINUOUS)),
        "factorvae": metrics.factorvae_score(metrics.votes(codes, of, np.random.default_rng(0))),
        "modularity": metrics.modularity(information[: len(SIZES)]),
    }


@pytest.fixture(scope="module")
def of() -> dict[str, dict[str, float]]:
    return {code.__name__: scores(code()) for code in (perfect, rotated, noise)}


def test_a_perfect_code_has_all_of_each_score(of: dict[str, dict[str, float]]) -> None:
    """But for the finite sample; a linear machine on one code cannot tell the middle one of three shapes."""
    for name, value in of["perfect"].items():
        assert value > (0.75 if name == "sap" else 0.97), name


def test_a_rotated_code_tells_as_much_and_less_of_it_each_by_one(of: dict[str, dict[str, float]]) -> None:
    perfect, rotated, noise = of["perfect"], of["rotated"], of["noise"]
    for name in ("mig", "disentanglement", "completeness", "sap", "factorvae", "modularity"):
        assert rotated[name] < perfect[name] - 0.05, name
    assert rotated["mig"] < 0.3 and rotated["sap"] < 0.4 and rotated["disentanglement"] < 0.5
    assert rotated["informativeness"] > noise["informativeness"] + 0.3


def test_the_factorvae_score_does_not_see_a_code_that_leans_to_its_factor() -> None:
    """What is known of it: a majority of votes for the right code is enough."""
    q, _ = np.linalg.qr(np.eye(4) + 0.5 * np.random.default_rng(3).normal(size=(4, 4)))
    assert metrics.factorvae_score(metrics.votes(perfect()[:, :4] @ q, factors(), np.random.default_rng(0))) > 0.97


def test_noise_has_none_of_what_chance_does_not_give(of: dict[str, dict[str, float]]) -> None:
    noise = of["noise"]
    assert noise["mig"] < 0.01 and noise["sap"] < 0.03
    assert noise["disentanglement"] < 0.1 and noise["completeness"] < 0.1
    assert noise["informativeness"] == pytest.approx(np.mean([1 / size for size in SIZES]), abs=0.03)
    assert noise["factorvae"] < 0.4, "chance is a quarter, and the best of four codes a little more"


def test_mutual_information_is_scikit_learns_and_the_entropy_of_a_copy() -> None:
    codes, of = rotated(), factors()
    expected = [[mutual_info_score(code, factor) for factor in of.T] for code in metrics.binned(codes).T]
    np.testing.assert_allclose(metrics.information(codes, of), expected, atol=1e-10)
    np.testing.assert_allclose(np.diag(metrics.information(of, of)), metrics.entropies(of), atol=1e-12)
    pairs = metrics.pairwise_information(codes)
    np.testing.assert_allclose(pairs, pairs.T)
    assert pairs[0, 1] == pytest.approx(mutual_info_score(*metrics.binned(codes)[:, :2].T), abs=1e-10)


def test_mutual_information_of_independent_bins_has_the_known_bias() -> None:
    rng, n = np.random.default_rng(0), 2000
    found = [metrics.discrete_mutual_information(rng.integers(0, 20, n), rng.integers(0, 20, n)) for _ in range(50)]
    assert np.mean(found) == pytest.approx(19**2 / (2 * n), rel=0.1)


def test_bins_are_of_equal_width_over_the_range_of_each_code() -> None:
    codes = np.array([[0.0, 1e-6], [0.049, 2.11e-6], [0.051, 2.11e-6], [1.0, 3e-6]])
    assert metrics.binned(codes).tolist() == [[0, 0], [0, 11], [1, 11], [19, 19]]
    assert metrics.binned(np.ones((3, 1))).tolist() == [[0]] * 3


def test_gaps_by_hand() -> None:
    information = np.array([[0.9, 0.1], [0.4, 0.7], [0.2, 0.6]])
    assert metrics.mig(information, np.array([1.0, 2.0])) == pytest.approx((0.5 + 0.05) / 2)
    assert metrics.sap(information) == pytest.approx((0.5 + 0.1) / 2)
    assert metrics.mig(np.array([[0.5]]), np.array([1.0])) == 0.5, "one code leaves nothing for a second"


def test_modularity_by_hand() -> None:
    assert metrics.modularity(np.eye(3)) == 1.0
    assert metrics.modularity(np.ones((2, 3))) == 0.0
    assert metrics.modularity(np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])) == pytest.approx((1 - 0.25 / 2) / 2)


def test_dci_by_hand() -> None:
    assert metrics.dci(np.eye(3)) == (1.0, 1.0)
    assert metrics.dci(np.ones((3, 3))) == pytest.approx((0.0, 0.0), abs=1e-12)
    two = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 1.0]])  # two codes share a factor, each speaks of one
    disentanglement, completeness = metrics.dci(two)
    assert disentanglement == 1.0 and completeness == pytest.approx(1 - 0.5 * math.log(2) / math.log(3))
    skewed = np.array([[0.75, 0.25], [0.0, 0.0]])
    assert metrics.dci(skewed)[0] == pytest.approx(1 + (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2))


def test_a_continuous_factor_is_scored_by_its_squared_correlation() -> None:
    codes, of = rotated(), factors()
    found = metrics.predictability(codes, of, (True,) * 4)
    assert found[2, 1] == pytest.approx(np.corrcoef(codes[:, 2], of[:, 1])[0, 1] ** 2, abs=1e-12)
    assert metrics.predictability(codes * 1e-7, of, (True,) * 4).max() == 0.0, "a code without variance predicts nothing"
    tiny = metrics.predictability(perfect()[:, :4] * np.array([1, 1, 1, 5.0]), of, CONTINUOUS)
    assert tiny[3, 0] > 0.6 and np.abs(tiny[:3, 0] - 1 / 3).max() < 0.05, "balanced accuracy of a class has chance 1/3"


def test_codes_without_variance_have_no_vote() -> None:
    of = factors()
    codes = np.column_stack([perfect()[:, :4], of[:, 0] * 1e-3])
    found = metrics.votes(codes, of, np.random.default_rng(0))
    assert found.sum() == 2 * metrics.VOTES and found[:, 4].sum() == 0
    assert metrics.factorvae_score(found) == 1.0
    assert metrics.factorvae_score(metrics.votes(codes * 1e-3, of, np.random.default_rng(0))) == 0.0


# --- codes among themselves --------------------------------------------------------------------


def test_total_correlation_in_closed_form() -> None:
    for r in (0.0, 0.3, -0.9):
        assert metrics.total_correlation(np.array([[4.0, 2 * r], [2 * r, 1.0]])) == pytest.approx(-0.5 * math.log(1 - r * r), abs=1e-9)
    assert metrics.total_correlation(np.diag([1.0, 1e-6, 30.0])) == 0.0


def test_total_correlation_is_that_of_the_correlation_matrix_and_by_determinants() -> None:
    a = np.random.default_rng(0).normal(size=(50, 5)) * np.array([1, 1e-3, 5, 1e-2, 1])
    s = np.cov(a, rowvar=False)
    expected = 0.5 * (np.log(np.diag(s)).sum() - np.linalg.slogdet(s)[1])
    assert metrics.total_correlation(s) == pytest.approx(expected, abs=1e-9)
    assert metrics.total_correlation(metrics.correlation(s)) == pytest.approx(expected, abs=1e-9)


def test_independent_noise_cannot_raise_total_correlation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, d = rng.normal(size=(4, 4)), rng.exponential(size=4) * 10 ** rng.uniform(-3, 2)
        assert metrics.total_correlation(a @ a.T + np.diag(d)) <= metrics.total_correlation(a @ a.T) + 1e-9


def test_correlations_of_samples_follow_from_those_of_means() -> None:
    """corr(z_i, z_j) = a_i a_j corr(mu_i, mu_j), a_i^2 = V_i / (V_i + E sigma_i^2), by the law of total covariance."""
    rng, n = np.random.default_rng(0), 100_000
    mean = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.02, 0.5], [0.0, 0.03, 0.5], [0.0, 0.0, 0.7]])
    variance = rng.uniform(0.5, 1.5, size=(n, 3)) * np.array([0.01, 1.0, 0.3])
    z = mean + np.sqrt(variance) * rng.normal(size=mean.shape)
    a = np.sqrt(mean.var(0) / (mean.var(0) + variance.mean(0)))
    expected = np.outer(a, a) * np.corrcoef(mean, rowvar=False)
    off = ~np.eye(3, dtype=bool)
    assert np.abs(np.corrcoef(z, rowvar=False) - expected)[off].max() < 3 / math.sqrt(n)


def test_units_of_each_type() -> None:
    """sigma^2 = 0.01 always, 1 always, and either: the thresholds act on the variance, not on its logarithm or its root."""
    variance = np.full((1000, 5), [0.01, 1.0, 0.01, 0.5, 0.5])
    variance[500:, 2:] = [1.0, 0.5, 1.5]  # the last has the mean of the prior's, and not its variance
    found = metrics.types(variance.mean(0), variance.var(0))
    assert {name: mask.nonzero()[0].tolist() for name, mask in found.items()} == {"active": [0], "passive": [1], "mixed": [2, 3, 4]}
    rng = np.random.default_rng(0)
    some = metrics.types(rng.uniform(0, 2, 500), rng.uniform(0, 0.3, 500))
    assert (np.sum(list(some.values()), axis=0) == 1).all(), "a partition"


def test_passive_units_by_their_correlation_with_others() -> None:
    """Two of four units are passive: one follows an active one to 0.6, the other the passive one to 0.8 and an active one to 0.2."""
    r = np.array([[1.0, 0.6, 0.0, 0.0], [0.6, 1.0, 0.0, -0.8], [0.0, 0.0, 1.0, 0.2], [0.0, -0.8, 0.2, 1.0]])
    scale = np.array([1.0, 1e-3, 1.0, 1e-3])
    covariance, passive = r * scale * scale[:, None], scale < 1
    assert metrics.passive_correlation(covariance, passive, ~passive) == pytest.approx((0.6 + 0.2) / 2)
    assert metrics.passive_correlation(covariance, passive, np.ones(4, bool)) == pytest.approx(0.8)
    samples = covariance + np.diag([0.01, 1.0, 0.01, 1.0])
    assert metrics.passive_correlation(samples, passive, np.ones(4, bool)) < 1e-3


def test_effective_rank_counts_equal_dimensions() -> None:
    assert metrics.effective_rank(np.diag([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3.0)
    assert metrics.effective_rank(np.zeros((2, 2))) == 0.0
    assert metrics.off_diagonal(np.array([[5.0, -0.5], [1.5, 5.0]])) == 1.0


def test_logistic_regression_uses_held_out_codes() -> None:
    of = factors()[:1000, :2]
    assert metrics.logistic_accuracy(perfect()[:1000], of) > metrics.logistic_accuracy(noise()[:1000], of) + 0.3
