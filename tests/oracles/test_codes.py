"""Moments of latent codes against distributions of PyTorch and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.distributions import Normal, kl_divergence

from elboard.bench.metrics.codes import (
    aggregate_mmd2,
    code_perplexity,
    log_det_gap,
    moments_kl,
    posterior_variance,
    variance_law,
)

RNG = np.random.default_rng(0)


def test_the_divergence_of_moments_is_torchs() -> None:
    means, logvars = RNG.normal(0.5, 2.0, (400, 3)), RNG.normal(-1.0, 0.5, (400, 3))
    for within, found in ((0.0, moments_kl(means)), (np.exp(logvars).mean(0), moments_kl(means, logvars))):
        of = Normal(torch.from_numpy(means.mean(0)), torch.from_numpy(np.sqrt(means.var(0) + within)))
        zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        assert found == pytest.approx(kl_divergence(of, Normal(zero, one)).mean().item(), rel=1e-12)


def test_codes_of_the_prior_have_no_divergence_and_collapsed_means_a_large_one() -> None:
    means = np.array([[1.0], [-1.0]])
    assert moments_kl(means) == 0.0 and moments_kl(0.6 * means, np.full((2, 1), math.log(0.64))) == pytest.approx(0.0, abs=1e-12)
    assert moments_kl(np.zeros((5, 2))) == pytest.approx(0.5 * (-1 - math.log(1e-12)))


def test_posterior_variance_is_the_mean_over_units_and_examples() -> None:
    assert posterior_variance(np.log([[0.5, 1.0], [0.25, 0.25]])) == pytest.approx(0.5)


def test_the_variance_law_is_of_active_units() -> None:
    """Of a unit that keeps it, one that misses it by 0.3, and an inactive one that misses it by far."""
    sign = np.array([[1.0], [-1.0]])
    means = np.concatenate([sign * math.sqrt(0.75), sign * math.sqrt(1.2), sign * 2.0], axis=1)
    logvars = np.log(np.tile([0.25, 0.1, 0.9], (2, 1)))
    assert variance_law(means, logvars) == pytest.approx(0.15)
    assert variance_law(means[:, 2:], logvars[:, 2:]) == 1.0


def test_the_perplexity_of_codes_is_scipys() -> None:
    counts = RNG.integers(0, 9, 30)
    assert code_perplexity(counts) == pytest.approx(math.exp(entropy(counts)), rel=1e-12)
    assert code_perplexity(np.full(7, 3)) == pytest.approx(7, rel=1e-12) and code_perplexity(np.array([0, 5, 0])) == 1.0
    assert code_perplexity(np.array([4_000_000_000, 4_000_000_000], dtype=np.uint32)) == pytest.approx(2, rel=1e-12)


def test_the_aggregate_discrepancy_is_that_of_samples() -> None:
    """By many samples of each posterior and of the prior, in three units, two of them active."""
    means, logvars = RNG.normal(0.3, 1.2, (40, 3)) * [1, 1, 0], np.log(RNG.uniform(0.05, 1.0, (40, 3)))
    m = 4000
    z = means[:, None] + np.exp(0.5 * logvars)[:, None] * RNG.normal(size=(40, m, 3))
    prior = RNG.normal(size=(40, m, 3))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum(-1) / 3).mean())

    own = np.mean([kernel(z[i], z[(i + step) % 40]) for step in range(1, 40) for i in range(40)])
    cross = np.mean([kernel(z, prior[:, RNG.permutation(m)]) for _ in range(5)])
    prior_own = np.mean([kernel(prior, np.roll(prior, step, axis=1)) for step in range(1, 6)])
    assert aggregate_mmd2(means, logvars) == pytest.approx(own + prior_own - 2 * cross, abs=2e-3)
    assert aggregate_mmd2(means, logvars) > 0.01


def test_the_aggregate_discrepancy_of_the_prior_is_zero_whatever_codes_carry() -> None:
    """On average over sets of codes, since it is unbiased; of collapsed codes exactly."""
    assert aggregate_mmd2(np.zeros((5, 4)), np.zeros((5, 4))) == pytest.approx(0.0, abs=1e-12)
    of = [aggregate_mmd2(0.8 * RNG.normal(size=(30, 4)), np.full((30, 4), math.log(0.36))) for _ in range(200)]
    assert np.mean(of) == pytest.approx(0.0, abs=5 * np.std(of) / math.sqrt(200))


def test_the_volume_of_codes() -> None:
    """Of a sheared Gaussian, whose units alone would say less: det of the map squared, plus what the posteriors add."""
    shear = np.array([[2.0, 0.0], [5.0, 0.25]])
    means = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]]) * math.sqrt(0.75) @ shear.T
    assert log_det_gap(means, np.full((4, 2), -40.0)) == pytest.approx(abs(2 * math.log(0.5)), abs=1e-6)
    assert log_det_gap(np.zeros((4, 2)), np.log(np.tile([2.0, 0.25], (4, 1)))) == pytest.approx(math.log(2))
