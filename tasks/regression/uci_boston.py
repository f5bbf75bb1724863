"""Median values of homes in 506 tracts of Boston: 506 examples, 13 inputs; 405 train, 50 validate, 51 test.

Kept for comparison with published numbers; one of its inputs is an assumption about segregation.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import BUDGETS, UCI  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="regression/uci-boston",
    title="Boston housing, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-boston",),
    varies="seed and split",
    full="the data, network and length of lite; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (405, 5_100), "full": (405, 5_100)},
    examples={"smoke": {"*": 24}, "lite": {"*": 51}, "full": {"*": 51}},
)


class Boston(UCI):
    """See the module."""
