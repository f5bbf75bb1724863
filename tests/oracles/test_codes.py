"""Moments of latent codes against distributions of PyTorch and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from elboard.bench.metrics.codes import moments_kl, posterior_variance, variance_law

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
