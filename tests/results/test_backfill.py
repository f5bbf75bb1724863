"""Metrics computed later, from the evidence of old records."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest

from elboard.bench.cli import verifying
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.metrics.calibration import brier
from elboard.bench.record import Record
from elboard.bench.run import execute
from elboard.results.backfill import backfill, backfilled, filled
from elboard.results.beside import path_beside
from elboard.results.board.build import Choice, boards
from elboard.results.places import InRuns, places_of_run
from elboard.results.shipping import board_file, write_lines
from elboard.results.store import groups, load
from elboard.results.store.lines import lines
from elboard.results.untrusted import read_evidence


@pytest.fixture(autouse=True)
def no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elboard.results.store.lines.SHIPPED", tmp_path / "shipped")


@pytest.fixture
def done(home: Path) -> tuple[InRuns, Record]:
    """A record whose evidence gives the Brier score, which its task does not report."""
    spec = resolve("ood/digits", "msp", budget="smoke", overrides={"base.train.epochs": 1})
    record = execute(spec, home)
    assert record.status == "done" and "brier" not in record.metrics
    return next(places_of_run(home, spec.key)), record


def test_a_metric_added_later(done: tuple[InRuns, Record], home: Path) -> None:
    path, record = done
    before = path.file.read_bytes()
    file = backfill(path, "brier")
    assert file.parent == home / "backfill" / record.key and path.file.read_bytes() == before
    evidence = read_evidence(path.evidence)
    tree = json.loads(file.read_text())
    assert tree["value"] == pytest.approx(brier(evidence["p"].astype(float), evidence["y"]), abs=1e-12) and 0 < tree["value"] < 2
    assert (tree["metric"], tree["digest"]) == ("brier", record.digest)
    assert tree["function"] == "elboard.tasks.ood.base.OODDetection.measure" and tree["tolerance"] == 1e-3
    assert backfilled(path) == {**record.metrics, "brier": tree["value"]}
    assert backfill(path, "brier") is None and backfill(path, "accuracy") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(home, shipped=False)) == 2, "the run and the one that it starts from; a backfilled metric is no record"


def test_boards_show_it(done: tuple[InRuns, Record], home: Path) -> None:
    path, record = done
    assert all("brier" not in group.metrics for group in filled(groups(home, shipped=False), home))
    backfill(path, "brier")
    (group,) = (group for group in filled(groups(home, shipped=False), home) if group.method == "msp")
    value = backfilled(path)["brier"]
    assert group.metrics["brier"].tolist() == [value] and group.metrics["accuracy"].tolist() == [record.metrics["accuracy"]]
    (board,) = boards([group], choice=Choice(metrics=("brier",)))
    (row,) = board.rows
    assert row.cells["brier"].mean == value and board.columns == (board.primary, "brier")
    (home / "backfill" / record.key).rename(home / "elsewhere")
    assert all("brier" not in group.metrics for group in filled(groups(home, shipped=False), home))


def test_beside_a_shipped_record(done: tuple[InRuns, Record], tmp_path: Path) -> None:
    path, record = done
    file = board_file(record, tmp_path / "shipped")
    write_lines(file, [{"record": dataclasses.asdict(record)}])
    evidence = path_beside(file, record, "npz")
    evidence.parent.mkdir()
    evidence.write_bytes(path.evidence.read_bytes())
    (line,) = lines("ood", [])
    assert backfill(line, "brier") == file and "brier" in backfilled(line) and backfill(line, "brier") is None
    assert [backfilled(of) for of in lines("ood/digits", [])] == [backfilled(line)], "it is in the file"
    (group,) = filled(groups(None), None)
    assert group.metrics["brier"].tolist() == [backfilled(line)["brier"]]


@pytest.mark.parametrize(
    "change", [{"digest": "0" * 64}, {"value": float("inf")}, {"value": 3.0}, {"value": "much"}, {"metric": "goodness"}, {"metric": None}]
)
def test_what_is_of_other_content_or_impossible_counts_for_nothing(change: dict, done: tuple[InRuns, Record]) -> None:
    path, record = done
    file = backfill(path, "brier")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert backfilled(path) == record.metrics


def test_the_records_own_value_wins(done: tuple[InRuns, Record]) -> None:
    path, record = done
    file = backfill(path, "brier")
    file.write_text(json.dumps({**json.loads(file.read_text()), "metric": "accuracy", "value": 0.123}))
    assert backfilled(path)["accuracy"] == record.metrics["accuracy"]


def test_what_cannot_be_computed(done: tuple[InRuns, Record]) -> None:
    path, record = done
    with pytest.raises(UserError, match="no metric 'brierr': did you mean 'brier'"):
        backfill(path, "brierr")
    with pytest.raises(UserError, match="the evidence of ood/digits does not give ndcg@10"):
        backfill(path, "ndcg@10")
    path.evidence.unlink()
    with pytest.raises(UserError, match="has no evidence"):
        backfill(path, "brier")


def test_command(done: tuple[InRuns, Record], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verifying.backfill("brier", "ood", out=home) == 0
    assert "brier: 2 computed now, 0 there before, 0 not computed" in capsys.readouterr().out
    assert verifying.backfill("brier", "ood/digits", out=home) == 0
    assert "brier: 0 computed now, 2 there before, 0 not computed" in capsys.readouterr().out
    assert verifying.backfill("mse", "", out=home) == 1
    with pytest.raises(UserError, match="no task or family 'odd'"):
        verifying.backfill("brier", "odd", out=home)
