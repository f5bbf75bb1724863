"""Residuary resistance of sailing yachts from the form of their hulls: 308 examples, 6 inputs; 247 train, 30 validate, 31 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import BUDGETS, UCI  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="regression/uci-yacht",
    title="Yacht hydrodynamics, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-yacht",),
    varies="seed and split",
    papers=("012",),
    full="the data, network and length of lite; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (247, 3_100), "full": (247, 3_100)},
    examples={"smoke": {"*": 24}, "lite": {"*": 31}, "full": {"*": 31}},
)


class Yacht(UCI):
    """See the module."""
