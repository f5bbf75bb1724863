"""Pairs, defaults and scores are what they were, unless a version says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nets
import pytest

from elboard.bench.record import Record
from elboard.bench.registry import discover


def test_the_same_methods_fit_the_same_tasks() -> None:
    if nets.UPDATE:
        nets.PAIRS.write_text(nets.pairs(), encoding="utf-8")
    assert nets.pairs() == nets.PAIRS.read_text(encoding="utf-8")


def test_a_changed_default_has_a_new_version() -> None:
    """A default is part of what a version means: runs with it carry no word of it in their key."""
    now = nets.defaults()
    if nets.UPDATE:
        nets.DEFAULTS.write_text(nets.written(now), encoding="utf-8")
    known = json.loads(nets.DEFAULTS.read_text(encoding="utf-8"))
    changed = {name for name in now if name in known and now[name] != known[name]}
    assert not changed, "raise the version of what declares another default than before"
    assert set(now) <= set(known), "new names or versions: ELBOARD_UPDATE_NETS=1 adds them"


@pytest.mark.parametrize(("task", "name"), nets.by_task(nets.at_home()))
def test_golden_score_of_each_method_on_its_home_task(task: str, name: str, root: Path) -> None:
    record, _ = nets.in_full(task, name, root)
    version = discover("method")[name].card.version
    _same_score("methods", name, {"task": task, "version": version}, record, f"{name} scores otherwise than before: raise its version")


@pytest.mark.parametrize("task", nets.tasks())
def test_golden_score_of_each_task(task: str, root: Path) -> None:
    """The witness's score pins the protocol: it may change only together with the task's version."""
    method = nets.witness(task)
    record, _ = nets.in_full(task, method, root)
    said = f"{task} scores otherwise than before: raise its version if its protocol changed"
    _same_score("tasks", task, {"method": method, "version": discover("task")[task].card.version}, record, said)


def _same_score(kind: str, name: str, about: dict[str, Any], record: Record | None, said: str) -> None:
    assert record is not None, "the run failed: see test_pairs.py"
    now = {**about, "metric": record.primary, "value": record.metrics[record.primary]}
    known = nets.golden(kind, name, now)
    assert known, f"{name} has no golden score: run this test alone with ELBOARD_UPDATE_NETS=1"
    assert {**known, "value": 0} == {**now, "value": 0}
    # loose enough for another CPU's rounding, tight enough for a changed objective, split or metric
    assert now["value"] == pytest.approx(known["value"], rel=1e-2, abs=5e-3), said
