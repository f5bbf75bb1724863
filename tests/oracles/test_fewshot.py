"""What episodes say, by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from elboard.bench.metrics.fewshot import episode_interval


def test_the_interval_over_episodes_is_scipys() -> None:
    accuracies = np.random.default_rng(0).integers(0, 76, size=600) / 75
    low, high = stats.norm.interval(0.95, loc=accuracies.mean(), scale=stats.sem(accuracies))
    assert episode_interval(accuracies) == pytest.approx((high - low) / 2, rel=1e-4), "1.96 is 1.959964 rounded"
    assert episode_interval(np.full(9, 0.4)) == pytest.approx(0, abs=1e-12) and episode_interval(np.array([0.2])) == 0
