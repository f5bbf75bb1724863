"""Likelihoods and statistics of codes against closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from elboard.bench.metrics import likelihood
from elboard.bench.metrics.conventions import ceiling, saturated

RNG = np.random.default_rng(0)


def test_bits_per_dim() -> None:
    assert likelihood.bits_per_dim(8 * math.log(2) * 784, 784) == pytest.approx(8.0)


def test_active_units() -> None:
    means = np.stack([np.zeros(1000), RNG.standard_normal(1000) * 0.09, RNG.standard_normal(1000) * 0.2, RNG.standard_normal(1000)], axis=1)
    assert likelihood.active_units(means) == 2


def test_mutual_information_of_separated_and_of_collapsed_codes() -> None:
    means = np.arange(300.0)[:, None] * 100
    assert likelihood.mutual_information(means, np.zeros((300, 1)), means) == pytest.approx(math.log(300))
    z = RNG.standard_normal((300, 2))
    assert likelihood.mutual_information(np.zeros((300, 2)), np.zeros((300, 2)), z) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("clusters", "offset", "error"), [(1, 300.0, 1e-9), (20, 50.0, 1e-6)])
def test_mutual_information_of_narrow_posteriors_far_from_zero(clusters: int, offset: float, error: float) -> None:
    """Deviations of about 1e-3 around codes of up to hundreds: squares of 1e10 whose differences are of order one."""
    n = 10_000 if clusters == 1 else 1000
    centre = RNG.standard_normal((clusters, 4)) * offset + (offset if clusters == 1 else 0)
    means = centre[RNG.integers(0, clusters, n)] + math.exp(-7) * RNG.standard_normal((n, 4))
    logvars = -14 + 0.3 * RNG.standard_normal((n, 4))
    z = means + np.exp(0.5 * logvars) * RNG.standard_normal((n, 4))
    expected = 0.0
    for i in range(n):
        log_q = -0.5 * ((z[i] - means) ** 2 * np.exp(-logvars) + logvars).sum(axis=1)
        expected += (log_q[i] - scipy.special.logsumexp(log_q) + math.log(n)) / n
    found = likelihood.mutual_information(means, logvars, z)
    assert found == pytest.approx(expected, abs=error) and 1 < found < math.log(n) - 1, "far from its ceiling"


def test_mutual_information_is_at_most_the_logarithm_of_n() -> None:
    means, key = np.arange(50.0)[:, None] * 1e3, "mutual_information[n=50]"
    found = likelihood.mutual_information(means, np.zeros((50, 1)), means)
    assert found == pytest.approx(ceiling(key)) == math.log(50) and saturated(key, found) and saturated(key, found - 0.049)
    assert not saturated(key, found - 0.051) and not saturated("mutual_information", found), "what says no n has no ceiling"
    assert ceiling("elbo[n=50]") == math.inf and not saturated("elbo[n=50]", 1e9)


def test_mutual_information_by_brute_force() -> None:
    means, logvars = RNG.standard_normal((9, 2)), RNG.standard_normal((9, 2))
    z = means + RNG.standard_normal((9, 2))
    log_q = np.array([[scipy.stats.norm.logpdf(z[i], means[j], np.exp(0.5 * logvars[j])).sum() for j in range(9)] for i in range(9)])
    expected = np.mean([log_q[i, i] - np.log(np.mean(np.exp(log_q[i]))) for i in range(9)])
    assert likelihood.mutual_information(means, logvars, z) == pytest.approx(expected, abs=1e-9)
