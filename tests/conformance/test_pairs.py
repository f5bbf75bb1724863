"""Every method on every task that it fits, at the smoke budget."""

from __future__ import annotations

import json
from pathlib import Path

import nets
import pytest

from elboard.bench import record as records
from elboard.bench.config import RunSpec, resolve
from elboard.bench.evidence import scored
from elboard.bench.metrics.conventions import bare
from elboard.bench.record import Record
from elboard.bench.registry import compatible, discover
from elboard.bench.run import execute
from elboard.bench.stages import build, load_trained, seed_everything
from elboard.bench.training import evaluating


def _history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def _evaluate_again(spec: RunSpec, root: Path) -> dict[str, float]:
    """Metrics of the final checkpoint, read back with ``weights_only``."""
    method = load_trained(spec, root)
    task, data, _ = build(spec, method.bases)
    seed_everything(spec.seed + 1)
    with evaluating(method):
        return scored(type(task), task.observe(method, data, _history(root / spec.key))).metrics


@pytest.mark.parametrize(("task", "method"), compatible())
def test_pair(task: str, method: str, tmp_path: Path) -> None:
    spec = resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cpu"})
    first: Record = execute(spec, tmp_path / "a")
    assert first.status == "done", first.failure
    second = execute(spec, tmp_path / "b")
    assert first.metrics == second.metrics, "same seed, other numbers"
    assert _evaluate_again(spec, tmp_path / "a") == first.metrics, "the checkpoint gives other numbers"
    records.validate(json.loads(next((tmp_path / "a" / spec.key / "attempts").glob("*.json")).read_text()))
    card = discover("task")[task].card
    present = set(first.metrics) | {bare(key) for key in first.metrics}
    assert card.primary in present
    assert first.files["evidence"] and (tmp_path / "a" / spec.key / first.files["evidence"][0]).stat().st_size < 4 * 2**20
    for row in _history(tmp_path / "a" / spec.key):
        assert all(isinstance(value, int | float) for value in row.values())


@pytest.mark.parametrize("task", discover("task"))
def test_some_method_shows_every_metric_of_the_board(task: str, tmp_path: Path) -> None:
    entry = discover("task")[task]
    canary = CANARIES[entry.card.family]
    spec = resolve(task, canary, budget="smoke", overrides={"trainer.accelerator": "cpu"})
    record = execute(spec, tmp_path)
    assert record.status == "done", record.failure
    present = set(record.metrics) | {bare(key) for key in record.metrics}
    unfilled = set(entry.card.metrics) - present - {"label_precision"}  # of methods that select examples
    assert not unfilled, "a column of the board that nothing fills"
    _check_golden(task, canary, entry.card.version, record)


CANARIES = {
    "calibration": "softmax",
    "density": "ppca",
    "generation": "vae",
    "links": "gae",
    "noisy": "softmax",
    "ood": "softmax",
    "recommendation": "ease",
}


def _check_golden(task: str, canary: str, version: int, record: Record) -> None:
    """The canary's score pins the protocol: it may change only together with the task's version."""
    score = record.metrics[record.primary]
    golden = nets.golden("tasks", task, {"version": version, "method": canary, "metric": record.primary, "value": score})
    assert golden, f"{task} has no golden score: run this test alone with ELBOARD_UPDATE_NETS=1"
    assert golden["version"] == version, "the version changed: update the golden score too"
    assert record.primary == golden["metric"]
    # loose enough for another CPU's rounding, tight enough for a changed split or metric
    assert score == pytest.approx(golden["value"], rel=1e-2, abs=5e-3), (
        f"{task} scores otherwise than before: raise its version if its protocol changed"
    )
