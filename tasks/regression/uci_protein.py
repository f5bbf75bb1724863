"""Deviation of decoys of proteins by their properties: 45,730 examples, 9 inputs; 36,584 train, 4,573 validate, 4,573 test.

Five published splits: seeds 0-4. Hernandez-Lobato and Adams (2015) have 100 hidden units here (hidden=[100]), and 50 on the smaller tables.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.regression.base import LARGEST as BUDGETS  # noqa: F401 (the registry reads BUDGETS)
from elboard.tasks.regression.base import UCI

CARD = TaskCard(
    name="regression/uci-protein",
    title="Protein tertiary structure, regression",
    needs=("Regressor",),
    primary="target_nll",
    metrics=("target_nll", "rmse", "crps", "coverage_error", "coverage@90", "interval_width@90"),
    selection="target_nll",
    data=("uci-protein",),
    varies="seed and split",
    full="400 instead of 10 epochs; 5 splits (seeds 0-4), as in Hernandez-Lobato and Adams 2015, whose network has 100 hidden units",
    work={"lite": (36_584, 457_300), "full": (36_584, 457_300)},
    examples={"smoke": {"*": 24}, "lite": {"*": 4573}, "full": {"*": 4573}},
)


class Protein(UCI):
    """See the module."""
