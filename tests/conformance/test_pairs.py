"""Every method on every task that it fits: in full where it is at home and once for each task, else one step on few examples."""

from __future__ import annotations

from pathlib import Path

import nets
import pytest

from elboard.bench.metrics.conventions import bare
from elboard.bench.registry import compatible, discover

THOROUGH = nets.thorough()


@pytest.mark.parametrize(("task", "method"), nets.by_task(THOROUGH))
def test_in_full(task: str, method: str, root: Path) -> None:
    """Runs, deterministic, checkpoint, evidence, purity: :func:`elboard.bench.check.full`."""
    record, findings = nets.in_full(task, method, root)
    assert record is not None and findings == [], findings


@pytest.mark.parametrize(("task", "method"), nets.by_task(set(compatible()) - THOROUGH))
def test_one_step_on_few_examples(task: str, method: str, root: Path) -> None:
    assert nets.metrics(task, method, root)


@pytest.mark.xdist_group("some group")
def test_workers_share_tests_by_groups(request: pytest.FixtureRequest) -> None:
    """Else each worker reads and trains what one would do for all tests of a task."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process, or no groups asked for")
    assert request.node.nodeid.endswith("@some group")


@pytest.mark.parametrize("task", nets.tasks())
def test_some_method_fills_every_column_of_the_board(task: str, root: Path) -> None:
    empty = set(discover("task")[task].card.metrics)
    for method in [nets.witness(task), *(method for of, method in compatible() if of == task)]:
        if empty:
            present = nets.metrics(task, method, root)
            empty -= present | {bare(key) for key in present}
    assert not empty, "a column of the board that nothing fills"
