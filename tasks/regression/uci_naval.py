"""Decay of a simulated ship's compressor by its gauges: 11,934 examples, 16 inputs; 9,548 train, 1,193 validate, 1,193 test.

Two of the inputs do not vary.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import LARGE as BUDGETS  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.regression.base import UCI

CARD = TaskCard(
    name="regression/uci-naval",
    title="Naval propulsion plants, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-naval",),
    varies="seed and split",
    full="400 instead of 40 epochs; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (9_548, 119_300), "full": (9_548, 119_300)},
    examples={"smoke": {"*": 24}, "lite": {"*": 1193}, "full": {"*": 1193}},
)


class Naval(UCI):
    """See the module."""
