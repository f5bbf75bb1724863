"""The metrics that papers' checks ask for stand among those that their tasks give: a bare name is not of every key."""

from __future__ import annotations

from pathlib import Path

import nets
import pytest

from elboard.bench.metrics.conventions import parse
from elboard.bench.papers import papers
from elboard.results.measured import metric_key


@pytest.mark.parametrize("task", nets.tasks())
def test_metrics_of_checks_are_found(task: str, root: Path) -> None:
    """Those that the witness of the task gives; a method may give more."""
    record, _ = nets.in_full(task, nets.witness(task), root)
    assert record is not None, "the run failed: see test_pairs.py"
    given = {(parse(key).name, parse(key).slice) for key in record.metrics}
    asked = {claim.check.metric for paper in papers() for claim in paper.claims if claim.check and task in claim.check.tasks}
    of = {metric: (parse(metric).name, parse(metric).slice) for metric in asked}
    lost = [metric for metric in asked if of[metric] in given and metric_key(metric, [record.metrics]) is None]
    assert not lost, "no record will ever be found by these names: a convention whose keys state n alone is `counted`"
