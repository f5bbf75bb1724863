"""Scores of disentanglement written a second time, example by example, from their published definitions (Locatello et al. 2019's library
where papers leave something open), on codes that are neither perfect nor noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from elboard.bench.metrics import disentanglement as metrics

SIZES, N = (3, 6, 8, 5), 3000
CONTINUOUS = (False, True, True, True)


@pytest.fixture(scope="module")
def factors() -> np.ndarray:
    return np.stack([np.random.default_rng(k).integers(0, size, N) for k, size in enumerate(SIZES)], axis=1)


@pytest.fixture(scope="module")
def codes(factors: np.ndarray) -> np.ndarray:
    """Six codes: four that lean to factors by different amounts, one that is dead, and one that is a small nonlinear copy."""
    rng = np.random.default_rng(7)
    of = (factors - factors.mean(0)) / factors.std(0)
    mixed = of @ np.array([[1.0, 0.1, 0.0, 0.3], [0.0, 1.0, 0.5, 0.0], [0.2, 0.0, 1.0, 0.0], [0.0, 0.6, 0.0, 0.8]])
    return np.column_stack([mixed + 0.3 * rng.normal(size=mixed.shape), np.full(N, 0.25), 0.5 * of[:, 1] ** 2])


def discretised(codes: np.ndarray) -> np.ndarray:
    """By NumPy's histogram of 20 bins, as the library has it."""
    return np.stack([np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in codes.T], axis=1)


def test_mutual_information_gap(codes: np.ndarray, factors: np.ndarray) -> None:
    """Chen et al. 2018, eq. 6."""
    gaps = []
    for factor in factors.T:
        told = sorted((mutual_info_score(code, factor) for code in discretised(codes).T), reverse=True)
        gaps.append((told[0] - told[1]) / mutual_info_score(factor, factor))
    found = metrics.mig(metrics.information(codes, factors), metrics.entropies(factors))
    assert found == pytest.approx(np.mean(gaps), abs=1e-9) and 0.1 < found < 0.9


def test_modularity(codes: np.ndarray, factors: np.ndarray) -> None:
    """Ridgeway and Mozer 2018: one minus the mean squared deviation from a template with the best factor's information alone."""
    scores = []
    for code in discretised(codes).T:
        told = np.array([mutual_info_score(code, factor) for factor in factors.T])
        template = np.where(np.arange(len(told)) == told.argmax(), told.max(), 0.0)
        deviation = ((told - template) ** 2).sum() / (told.max() ** 2 * (len(told) - 1)) if told.max() > 1e-12 else 1.0
        scores.append(1 - deviation)
    assert metrics.modularity(metrics.information(codes, factors)) == pytest.approx(np.mean(scores), abs=1e-9)


def test_attribute_predictability(codes: np.ndarray, factors: np.ndarray) -> None:
    """Kumar et al. 2018: cov^2 / (var var) of a continuous factor, else the mean over classes of a linear machine's recall."""
    half, gaps = N // 2, []
    for k, factor in enumerate(factors.T):
        scores = []
        for code in codes.T:
            if CONTINUOUS[k]:
                c = np.cov(code, factor)
                scores.append(c[0, 1] ** 2 / (c[0, 0] * c[1, 1]) if c[0, 0] > 1e-12 else 0.0)
            else:
                machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(code[:half].reshape(-1, 1), factor[:half])
                said, true = machine.predict(code[half:].reshape(-1, 1)), factor[half:]
                scores.append(np.mean([np.mean(said[true == value] == value) for value in np.unique(true)]))
        scores.sort()
        gaps.append(scores[-1] - scores[-2])
    assert metrics.sap(metrics.predictability(codes, factors, CONTINUOUS)) == pytest.approx(np.mean(gaps), abs=1e-9)


def test_disentanglement_and_completeness() -> None:
    """Eastwood and Williams 2018, section 2, with SciPy's entropy and the library's 1e-11, a row and a column of zeros among them."""
    r = np.random.default_rng(0).exponential(size=(6, 4)) ** 3
    r[2], r[:, 1] = 0.0, 0.0
    of_codes = [1 - entropy(row + 1e-11, base=4) for row in r]
    of_factors = [1 - entropy(column + 1e-11, base=6) for column in r.T]
    expected = (np.sum(of_codes * r.sum(1)) / r.sum(), np.sum(of_factors * r.sum(0)) / r.sum())
    assert metrics.dci(r) == pytest.approx(expected, abs=1e-7)


def test_informativeness_and_importances_are_of_the_factor_that_a_code_shows(codes: np.ndarray, factors: np.ndarray) -> None:
    """Each column of importances sums to one, a dead code has none; accuracy is of the examples that trees have not seen."""
    importances, accuracy = metrics.importances(codes, factors)
    np.testing.assert_allclose(importances.sum(axis=0), 1.0)
    assert (importances[4] == 0).all() and importances[:, 2].argmax() == 2
    shuffled = factors.copy()
    shuffled[: N // 2] = np.random.default_rng(1).permutation(shuffled[: N // 2])
    chance = metrics.importances(codes, shuffled)[1]
    assert (accuracy > chance + 0.15).all() and chance == pytest.approx([1 / size for size in SIZES], abs=0.06)


def test_factorvae_score(codes: np.ndarray, factors: np.ndarray) -> None:
    """Kim and Mnih 2018, section 4, again with other groups and codes under noise: the same within the error of 800 votes."""
    rng, table = np.random.default_rng(11), np.zeros((2, codes.shape[1], len(SIZES)))
    codes = codes + 2.2 * rng.normal(size=codes.shape) * (codes.std(axis=0) > 0)
    scale = codes.std(axis=0, ddof=1)
    alive = [i for i in range(codes.shape[1]) if scale[i] ** 2 >= 0.05]
    for part in range(2):
        for _ in range(4000):
            k = rng.integers(len(SIZES))
            value = rng.integers(SIZES[k])
            group = codes[rng.choice(np.flatnonzero(factors[:, k] == value), 64)]
            table[part, min(alive, key=lambda i: (group[:, i] / scale[i]).var(ddof=1)), k] += 1
    expected = sum(table[1, i, table[0, i].argmax()] for i in alive) / 4000
    found = metrics.votes(codes, factors, np.random.default_rng(0))
    assert 4 not in alive and found[:, 4].sum() == 0
    assert metrics.factorvae_score(found) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / metrics.VOTES))
    assert 0.3 < expected < 0.98
