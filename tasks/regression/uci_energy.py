"""Heating load of simulated buildings from their form: 768 examples, 8 inputs; 615 train, 76 validate, 77 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import BUDGETS, UCI  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="regression/uci-energy",
    title="Energy efficiency, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-energy",),
    varies="seed and split",
    papers=("012",),
    full="the data, network and length of lite; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (615, 7_700), "full": (615, 7_700)},
    examples={"smoke": {"*": 24}, "lite": {"*": 77}, "full": {"*": 77}},
)


class Energy(UCI):
    """See the module."""
