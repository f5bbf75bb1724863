"""Output of a power plant from the weather: 9,568 examples, 4 inputs; 7,655 train, 956 validate, 957 test."""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import LARGE as BUDGETS  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.regression.base import UCI

CARD = TaskCard(
    name="regression/uci-power",
    title="Combined cycle power plant, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-power",),
    varies="seed and split",
    full="400 instead of 40 epochs; 20 splits (seeds 0-19), as in Hernandez-Lobato and Adams 2015",
    work={"lite": (7_655, 95_700), "full": (7_655, 95_700)},
    examples={"smoke": {"*": 24}, "lite": {"*": 957}, "full": {"*": 957}},
)


class Power(UCI):
    """See the module."""
