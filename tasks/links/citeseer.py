"""Citeseer: 3,327 papers, 4,552 citations (3,870 for training), 3,703 binary words; 48 papers have no citation, 15 no word.

The paper's Table 1 has means and standard errors of ten runs; run seeds 0 to 9. lite is the paper's own training,
200 epochs of which the last one's weights are kept, and full repeats it.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.links.base import LinkPrediction

CARD = TaskCard(
    name="links/citeseer",
    title="Citeseer, missing citations",
    needs=("LinkPredictor",),
    primary="auc",
    metrics=("auc", "ap"),
    selection="auc",
    data=("citeseer",),
    varies="seed and edge split",
    papers=("051",),
    full="as lite: the data and the length of Kipf and Welling 2016, but the test edges are the same in all runs",
    work={"lite": (3327, 910), "full": (3327, 910)},
    version=3,
)
BUDGETS = {
    "smoke": {"train": {"epochs": 30, "batch_size": 0, "validate_every": 10}},
    "lite": {"train": {"epochs": 200, "batch_size": 0, "validate_every": 20}},
    "full": {"train": {"epochs": 200, "batch_size": 0, "validate_every": 20}},
}


class Citeseer(LinkPrediction):
    pass
