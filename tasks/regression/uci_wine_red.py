"""Grades of red wines, from 3 to 8, by their chemistry: 1,599 examples, 11 inputs; 1,280 train, 159 validate, 160 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import BUDGETS, UCI  # noqa: F401 (the registry reads BUDGETS)

CARD = TaskCard(
    name="regression/uci-wine-red",
    title="Red wine quality, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-wine-red",),
    varies="seed and split",
    papers=("012",),
    full="the data, network and length of lite; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (1_280, 16_000), "full": (1_280, 16_000)},
    examples={"smoke": {"*": 24}, "lite": {"*": 160}, "full": {"*": 160}},
)


class WineRed(UCI):
    """See the module."""
