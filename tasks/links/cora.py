"""Cora: 2,708 papers, 5,278 citations (4,488 for training), 1,433 binary words.

The paper's Table 1 has means and standard errors of ten runs; run seeds 0 to 9. lite is the paper's own training,
200 epochs of which the last one's weights are kept, and full repeats it.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.links.base import LinkPrediction

CARD = TaskCard(
    name="links/cora",
    title="Cora, missing citations",
    needs=("LinkPredictor",),
    primary="auc",
    metrics=("auc", "ap"),
    selection="auc",
    data=("cora",),
    varies="seed and edge split",
    papers=("051",),
    full="as lite: the data and the length of Kipf and Welling 2016, but the test edges are the same in all runs",
    work={"lite": (2708, 1054), "full": (2708, 1054)},
    version=3,
)
BUDGETS = {
    "smoke": {"train": {"epochs": 30, "batch_size": 0, "validate_every": 10}},
    "lite": {"train": {"epochs": 200, "batch_size": 0, "validate_every": 20}},
    "full": {"train": {"epochs": 200, "batch_size": 0, "validate_every": 20}},
}


class Cora(LinkPrediction):
    pass
