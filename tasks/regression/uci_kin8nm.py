"""Reach of a simulated robot arm from the angles of its joints: 8,192 examples, 8 inputs; 6,554 train, 819 validate, 819 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import LARGE as BUDGETS  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.regression.base import UCI

CARD = TaskCard(
    name="regression/uci-kin8nm",
    title="Kin8nm, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-kin8nm",),
    varies="seed and split",
    full="400 instead of 40 epochs; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (6_554, 81_900), "full": (6_554, 81_900)},
    examples={"smoke": {"*": 24}, "lite": {"*": 819}, "full": {"*": 819}},
)


class Kin8nm(UCI):
    """See the module."""
