"""Pairs, defaults and scores are what they were, unless a version says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import nets
import pytest

from elboard.bench.config import resolve
from elboard.bench.registry import discover
from elboard.bench.run import execute


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


@pytest.mark.parametrize("name", discover("method"))
def test_golden_score_of_each_method_on_its_home_task(name: str, tmp_path: Path) -> None:
    card = discover("method")[name].card
    record = execute(resolve(card.home, name, budget="smoke", overrides={"trainer.accelerator": "cpu"}), tmp_path)
    assert record.status == "done", record.failure
    score = record.metrics[record.primary]
    golden = nets.golden("methods", name, {"task": card.home, "version": card.version, "metric": record.primary, "value": score})
    assert golden, f"{name} has no golden score: run this test alone with ELBOARD_UPDATE_NETS=1"
    assert (golden["task"], golden["version"], golden["metric"]) == (card.home, card.version, record.primary)
    # loose enough for another CPU's rounding, tight enough for a changed objective
    assert score == pytest.approx(golden["value"], rel=1e-2, abs=5e-3), f"{name} scores otherwise than before: raise its version"
