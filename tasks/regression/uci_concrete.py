"""Compressive strength of concrete from its mixture and age: 1,030 examples, 8 inputs; 824 train, 103 validate, 103 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import BUDGETS, UCI  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="regression/uci-concrete",
    title="Concrete strength, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-concrete",),
    varies="seed and split",
    papers=("012",),
    full="the data, network and length of lite; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (824, 10_300), "full": (824, 10_300)},
    examples={"smoke": {"*": 24}, "lite": {"*": 103}, "full": {"*": 103}},
)


class Concrete(UCI):
    """See the module."""
