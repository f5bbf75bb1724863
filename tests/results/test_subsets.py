"""A run whose evidence is cut to a subset: its record, verification, badge, boards and claims."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from elboard.bench import record as records
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.metrics.calibration import classification_metrics
from elboard.bench.record import Record
from elboard.bench.registry import discover
from elboard.bench.run import execute
from elboard.results.backfill import backfill, filled
from elboard.results.board.build import Choice, boards
from elboard.results.measured import metric_key
from elboard.results.places import InRuns, places_of_run
from elboard.results.store import groups
from elboard.results.submission import review, submit
from elboard.results.untrusted import curves_of, read_evidence
from elboard.results.verify import badge, verify

PLUGINS = Path(__file__).parents[1] / "plugins"
PATHS = (PLUGINS,)
FEW = {"accuracy[n=800]", "class_nll[n=800]"}


@pytest.fixture(autouse=True)
def no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elboard.results.store.lines.SHIPPED", tmp_path / "shipped")


@pytest.fixture
def done(home: Path) -> tuple[InRuns, Record]:
    """20,000 test points, whose evidence takes 400 kB."""
    overrides = {"task.n": 60_000, "task.spread": 2.0, "train.epochs": 1, "train.batch_size": 1000}
    spec = resolve("test/blobs", "test-linear", budget="smoke", overrides=overrides, paths=(str(PLUGINS),))
    record = execute(spec, home)
    assert record.status == "done", record.failure
    return next(places_of_run(home, spec.key)), record


def test_metrics_of_the_subset_stand_beside_the_full_ones(done: tuple[InRuns, Record]) -> None:
    path, record = done
    evidence = read_evidence(path.evidence)
    assert evidence["kept_test"].tolist() == [800, 20_000] and path.evidence.stat().st_size <= 16 * 1024 * 1.05
    assert set(record.metrics) == {"accuracy", "class_nll"} | FEW and record.primary == "accuracy"
    again = classification_metrics(evidence["p"], evidence["y"])
    assert {name: record.metrics[f"{name}[n=800]"] for name in ("accuracy", "class_nll")} == {
        name: again[name] for name in ("accuracy", "class_nll")
    }
    assert 0 < abs(record.metrics["accuracy"] - record.metrics["accuracy[n=800]"]) < 0.05


def test_the_subset_is_checked_exactly_and_the_rest_is_unchecked(done: tuple[InRuns, Record]) -> None:
    path, record = done
    evidence = read_evidence(path.evidence)
    found = verify(record, evidence, PATHS)
    assert found.ok and set(found.checked) == FEW and set(found.unchecked) == {"accuracy", "class_nll"}
    assert all(check.tolerance == 1e-9 for check in found.checked.values()) and badge(record, [found]) == "recomputed"
    other = records.seal(dataclasses.replace(record, metrics={**record.metrics, "accuracy[n=800]": record.metrics["accuracy"]}))
    assert verify(other, evidence, PATHS).ok is False
    less = dataclasses.replace(found, checked={"class_nll[n=800]": found.checked["class_nll[n=800]"]})
    assert badge(record, [less]) == "claimed", "not the primary metric"
    with pytest.raises(UserError, match="kept_test says 50 of 20000"):
        verify(record, {"p": evidence["p"][:50], "y": evidence["y"][:50], "kept_test": np.array([50, 20_000])}, PATHS)


def test_a_submission_comes_in_as_recomputed(done: tuple[InRuns, Record], home: Path, tmp_path: Path) -> None:
    report = review(submit(home, tmp_path / "x.elboard.zip"), into=tmp_path / "records", paths=PATHS)
    assert not report.refused and "recomputed, 2 of 4 metrics recomputed" in "\n".join(report.lines())
    assert not any("claimed" in line for line in report.flagged)


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        ((), ("accuracy", "class_nll")),
        (("all",), ("accuracy", "class_nll")),
        (("class_nll",), ("accuracy", "class_nll")),
        (("class_nll[n=800]",), ("accuracy", "class_nll[n=800]")),
    ],
)
def test_boards_show_it_where_it_is_asked_for_by_its_key(
    metrics: tuple[str, ...], columns: tuple[str, ...], done: tuple[InRuns, Record], home: Path
) -> None:
    (board,) = boards(groups(home, shipped=False), paths=PATHS, choice=Choice(metrics=metrics))
    assert board.columns == columns and board.primary == "accuracy"
    assert board.rows[0].cells["accuracy"].mean == done[1].metrics["accuracy"]


def test_a_backfilled_metric_of_the_subset_says_so(done: tuple[InRuns, Record], home: Path) -> None:
    path, record = done
    with pytest.raises(UserError, match=r"does not give brier, only brier\[n=800\]"):
        backfill(path, "brier", PATHS)
    backfill(path, "brier[n=800]", PATHS)
    (group,) = filled(groups(home, shipped=False), home)
    assert "brier[n=800]" in group.metrics and metric_key("brier", [group.metrics]) is None
    assert metric_key("brier[n=800]", [group.metrics]) == "brier[n=800]"


def test_a_bare_name_in_a_claim_or_a_table_is_the_full_metric() -> None:
    left, right = ["nll[k=5,n=1000]", "nll[k=5,n=400]", "ece"], ["nll[k=5,n=1000]", "nll[k=5,n=300]", "ece[n=300]", "ece"]
    assert metric_key("nll", [left, right]) == metric_key("nll", [right]) == "nll[k=5,n=1000]"
    assert metric_key("ece", [left, right]) == "ece" and metric_key("ece", [["ece[n=300]"]]) is None
    with pytest.raises(UserError, match="may be any of"):
        metric_key("fd", [["fd[a,n=5]", "fd[b,n=5]"]])


@pytest.mark.parametrize(("sets", "warned"), [("{}", False), ('{"test": Examples(arrays=("p",), metrics=("*",))}', True)])
def test_large_arrays_of_no_set_lose_no_run(sets: str, warned: bool, home: Path, tmp_path: Path) -> None:
    """The metrics of all examples stay, where what is left of the arrays gives none."""
    text = (PLUGINS / "blobs.py").read_text().replace("test/blobs", "test/loose")
    text = text.replace('{"test": Examples(arrays=("p", "y"), metrics=("*",))}', sets)
    (tmp_path / "loose.py").write_text(text)
    paths = (str(PLUGINS), str(tmp_path / "loose.py"))
    overrides = {"task.n": 60_000, "train.epochs": 1, "train.batch_size": 1000}
    record = execute(resolve("test/loose", "test-linear", budget="smoke", overrides=overrides, paths=paths), home)
    assert record.status == "done" and set(record.metrics) == {"accuracy", "class_nll"}, record.failure
    assert any("its evidence gives no metric" in line for line in record.warnings) == warned


def test_curves_of_what_every_task_selects_by_are_taken() -> None:
    for entry in discover("task").values():
        content = json.dumps({"epoch": 0, f"valid/{entry.card.selection}": 1.5}).encode() + b"\n"
        assert json.loads(curves_of(content)) == json.loads(content)
