"""Leaderboards: statistics, grouping, order, formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.config import resolve
from bench.record import Record, write
from results.board.build import Board, boards
from results.board.render import number, render, short_names, table
from results.stats import Cell, summarise
from results.store import load

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
PATHS = tuple(Path(path) for path in PLUGINS)


def record_of(accuracy: float, seed: int = 0, status: str = "done", ended: str = "2026-01-01", **overrides: object) -> Record:
    spec = resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides=overrides, paths=PLUGINS)
    failure = {} if status == "done" else {"class": "nan", "message": "", "log": ""}
    metrics = {"accuracy": accuracy, "class_nll": 1 - accuracy} if status == "done" else {}
    return Record(spec.key, f"a{seed}{ended}", status, spec.to_dict(), metrics, "accuracy", failure, ended=ended, cost={"wall_s": 2.0})


def build(records: list[Record]) -> Board:
    (board,) = boards(records, paths=PATHS)
    return board


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).filter(lambda v: np.std(v) > 1e-3))
def test_interval_is_scipys(values: list[float]) -> None:
    cell = summarise(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert cell.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert (cell.mean - cell.half, cell.mean + cell.half) == pytest.approx((low, high), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    assert summarise([3.0]) == Cell(3.0, 1, None)
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_rows_are_configurations_and_cells_are_seeds() -> None:
    board = build([record_of(0.5, 0), record_of(0.7, 1), record_of(0.9, 0, scale=2.0), record_of(0.1, 3, status="failed")])
    assert [row.label for row in board.rows] == ["test-linear (scale=2.0)", "test-linear"]
    assert board.rows[1].cells["accuracy"].mean == pytest.approx(0.6) and board.rows[1].seeds == (0, 1)
    assert board.rows[1].failed == 1 and board.rows[0].failed == 0


def test_the_newest_finished_attempt_counts() -> None:
    attempts = [record_of(0.5, ended="2026-01-02"), record_of(0.9, ended="2026-01-01"), record_of(0, status="failed", ended="2026-01-03")]
    assert build(attempts).rows[0].cells["accuracy"].mean == 0.5


def test_versions_and_budgets_never_mix() -> None:
    old = record_of(0.9)
    object.__setattr__(old, "spec", {**old.spec, "task_version": 0})
    assert boards([old], paths=PATHS) == []
    lite = record_of(0.8)
    object.__setattr__(lite, "spec", resolve("test/blobs", "test-linear", budget="lite", paths=PLUGINS).to_dict())
    object.__setattr__(lite, "key", "other")
    assert [board.budget for board in boards([record_of(0.5), lite], paths=PATHS)] == ["lite", "smoke"]


def test_patterns() -> None:
    assert boards([record_of(0.5)], "test", PATHS) and boards([record_of(0.5)], "test/blobs", PATHS)
    assert boards([record_of(0.5)], "ood", PATHS) == []


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(0.61234, 2, 0.1912), "0.61 ± 0.19"),
        (Cell(96.44, 3, 1.4), "96.4 ± 1.4"),
        (Cell(0.97652, 3, 0.00042), "0.9765 ± 0.0004"),
        (None, "–"),
    ],
)
def test_numbers_show_the_digits_that_the_interval_supports(cell: Cell | None, text: str) -> None:
    assert number(cell) == text


def test_formats() -> None:
    found = boards([record_of(0.5, 0), record_of(0.7, 1), record_of(0.9, 0, scale=2.0)], paths=PATHS)
    rows = json.loads(render(found, "json"))
    assert {(row["metric"], row["n"]) for row in rows} == {("accuracy", 1), ("accuracy", 2), ("class_nll", 1), ("class_nll", 2)}
    parsed = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert [float(row["mean"]) for row in parsed] == [row["mean"] for row in rows]
    assert "| 1 | test-linear (scale=2.0) | 1 |" in render(found, "md")
    latex = render(found, "latex")
    assert r"class\_nll" in latex and latex.count(r"\\") == 3 and r"$\pm$" in latex
    assert table(found[0]).row_count == 2


def test_a_truncated_record_is_left_out_with_a_warning(tmp_path: Path) -> None:
    good = record_of(0.5)
    write(good, tmp_path / good.key / "attempts" / "a.json")
    (tmp_path / "0" / "attempts").mkdir(parents=True)
    (tmp_path / "0" / "attempts" / "b.json").write_text('{"schema": 1, "key"')
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert [record.key for record in load(tmp_path, shipped=False)] == [good.key]
    assert "b.json: not valid JSON, perhaps truncated; it is left out" in str(heard[0].message)


def test_marks_keep_apart_what_has_other_parameters() -> None:
    names, notes = short_names(("nll[k=5]", "fid[a,n=2]", "kid[a,n=2]", "fid[b,n=2]/x", "mse"))
    assert names == {"nll[k=5]": "nll¹", "fid[a,n=2]": "fid²", "kid[a,n=2]": "kid²", "fid[b,n=2]/x": "fid/x³", "mse": "mse"}
    assert notes == "¹ k=5; ² a,n=2; ³ b,n=2"


def test_trials_of_searches_are_on_no_board() -> None:
    trial = dataclasses.replace(record_of(0.9), notes={"trial": {"search": "x", "number": 3}})
    (board,) = boards([record_of(0.5, seed=1), trial], paths=PATHS)
    assert [row.seeds for row in board.rows] == [(1,)]
