"""Leaderboards: statistics, grouping, order, formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from elboard.bench.cli import boards as cli
from elboard.bench.config import RunSpec, resolve
from elboard.bench.record import Record, write
from elboard.bench.registry import discover
from elboard.results import markup
from elboard.results.board.across import complete, gather
from elboard.results.board.build import Board, Choice, boards
from elboard.results.board.render import amount, number, rank_text, render, short_names
from elboard.results.board.terminal import table
from elboard.results.markup import tex
from elboard.results.stats import Cell, Standing, compare_rows
from elboard.results.store import groups_of, load

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
PATHS = tuple(Path(path) for path in PLUGINS)


def cell(mean: float, n: int, half: float | None) -> Cell:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Cell(mean, n, half, low, high, mean, mean, "none" if half is None else "t")


def record_of(accuracy: float, seed: int = 0, status: str = "done", ended: str = "2026-01-01", **overrides: object) -> Record:
    spec = resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides=overrides, paths=PLUGINS)
    failure = {} if status == "done" else {"class": "nan", "message": "", "log": ""}
    metrics = {"accuracy": accuracy, "class_nll": 1 - accuracy} if status == "done" else {}
    said = {"metrics": metrics, "primary": "accuracy", "failure": failure, "ended": ended, "cost": {"wall_s": 2.0}}
    return Record.of(spec, f"a{seed}{ended}", status, **said)


def build(records: list[Record]) -> Board:
    (board,) = boards(groups_of(records), paths=PATHS)
    return board


def test_rows_are_configurations_and_cells_are_seeds() -> None:
    board = build([record_of(0.5, 0), record_of(0.7, 1), record_of(0.9, 0, scale=2.0), record_of(0.1, 3, status="failed")])
    assert [row.label for row in board.rows] == ["test-linear (scale=2.0)", "test-linear"]
    assert board.rows[1].cells["accuracy"].mean == pytest.approx(0.6) and board.rows[1].seeds == (0, 1)
    assert board.rows[1].of.failed == 1 and board.rows[0].of.failed == 0


def test_the_newest_finished_attempt_counts() -> None:
    attempts = [record_of(0.5, ended="2026-01-02"), record_of(0.9, ended="2026-01-01"), record_of(0, status="failed", ended="2026-01-03")]
    assert build(attempts).rows[0].cells["accuracy"].mean == 0.5


def test_versions_and_budgets_never_mix() -> None:
    old = record_of(0.9)
    object.__setattr__(old, "spec", {**old.spec, "task_version": 0})
    assert boards(groups_of([old]), paths=PATHS) == []
    lite = record_of(0.8)
    object.__setattr__(lite, "spec", resolve("test/blobs", "test-linear", budget="lite", paths=PLUGINS).resolved())
    object.__setattr__(lite, "key", "f" * 16)
    assert [board.budget for board in boards(groups_of([record_of(0.5), lite]), paths=PATHS)] == ["lite", "smoke"]


def test_patterns() -> None:
    groups = groups_of([record_of(0.5)])
    assert boards(groups, "test", PATHS) and boards(groups, "test/blobs", PATHS)
    assert boards(groups, "ood", PATHS) == []


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (cell(0.61234, 2, 0.1912), "0.61 ± 0.19"),
        (cell(96.44, 3, 1.4), "96.4 ± 1.4"),
        (cell(0.97652, 3, 0.00042), "0.9765 ± 0.0004"),
        (cell(0.5, 1, None), "0.5000"),
        (Cell(10.0, 9, 1.0, 9.5, 11.5, 8.0, 12.0, "bootstrap"), "10.0 ± 1.5"),
        (cell(1.678e17, 3, 7.2e17), "1.7e+17 ± 7.2e+17"),
        (cell(-12.0, 3, 4.1e6), "-1.2e+01 ± 4.1e+06"),
        (cell(999_999.0, 3, 120.0), "999999.0 ± 120.0"),
        (None, "–"),
    ],
)
def test_numbers_show_the_digits_that_the_interval_supports(shown: Cell | None, text: str) -> None:
    assert number(shown) == text


def several() -> list[Record]:
    """Three configurations: two that seeds separate, one with a single seed."""
    scores = {1.0: (0.90, 0.91, 0.92), 2.0: (0.70, 0.72, 0.71), 3.0: (0.80,)}
    return [record_of(value, seed, scale=scale) for scale, values in scores.items() for seed, value in enumerate(values)]


def test_ranks_are_those_of_the_whole_boards_comparisons() -> None:
    board = build(several())
    by = {row.changed.get("scale", 1.0): row for row in board.rows}
    want = {1.0: Standing(1, 1, "top"), 2.0: Standing(2, 2, "worse"), 3.0: Standing(None, None, "undecided")}
    assert {scale: row.ranks["accuracy"] for scale, row in by.items()} == want
    rows, pairs = board.pairs("accuracy")
    assert rows == list(board.rows)
    first, second = (rows.index(by[scale]) for scale in (1.0, 2.0))
    assert pairs.p[first, second] == pytest.approx(compare_rows([row.values["accuracy"] for row in rows]).p[first, second])
    assert "class_nll" not in board.rows[0].ranks
    (whole,) = boards(groups_of(several()), paths=PATHS, choice=Choice(rank_all=True))
    assert {row.changed.get("scale", 1.0): row.ranks["class_nll"] for row in whole.rows} == want


def test_rows_stand_in_the_order_of_their_means_and_an_undecided_one_is_not_first() -> None:
    noisy = [record_of(value, seed, scale=4.0) for seed, value in enumerate((0.80, 0.99, 0.97))]
    board = build([*several(), *noisy])
    assert [row.changed.get("scale", 1.0) for row in board.rows] == [4.0, 1.0, 3.0, 2.0]
    assert [rank_text(row, "accuracy") for row in board.rows] == ["undecided", "1–2", "undecided", "2–3"]
    assert [row.ranks["accuracy"].state for row in board.rows] == ["undecided", "top", "undecided", "worse"]
    text = render([board], "latex")
    assert [r"\textbf" in line for line in text.splitlines() if line.endswith(r"\\")] == [False, False, True, False, False]


def test_what_is_shown_can_be_chosen() -> None:
    groups = groups_of(several())

    def shown(**choice: object) -> list[float]:
        found = boards(groups, paths=PATHS, choice=Choice(**choice))
        return [row.changed.get("scale", 1.0) for board in found for row in board.rows]

    assert shown() == [1.0, 3.0, 2.0] and shown(min_n=2) == [1.0, 2.0]
    assert shown(methods=("other-*",)) == [] and shown(methods=("test-*",)) == [1.0, 3.0, 2.0]
    assert shown(budget="lite") == [] and shown(tuned="only") == []
    (board,) = boards(groups, paths=PATHS, choice=Choice(metrics=("class_nll",), sort="class_nll"))
    assert board.columns == ("class_nll",) and board.primary == "class_nll" and board.rows[0].changed == {}


def test_the_least_trusted_record_gives_a_row_its_badge() -> None:
    records = several()
    groups, verified = groups_of(records), {record.key for record in records[1:]}
    badges = {group.group: {key: "recomputed" for key in group.keys if key in verified} for group in groups}
    found = boards(groups, paths=PATHS, badges=badges)[0].rows
    assert [row.badge for row in found] == ["claimed", "recomputed", "recomputed"]


def test_tuned_rows_say_so() -> None:
    tuned = dataclasses.replace(record_of(0.9, 1, scale=2.0), notes={"search": {"trials": 20, "metric": "accuracy"}})
    groups = groups_of([record_of(0.5), tuned])
    assert [row.label for row in boards(groups, paths=PATHS)[0].rows] == ["test-linear (scale=2.0) [tuned, 20 trials]", "test-linear"]
    assert [len(boards(groups, paths=PATHS, choice=Choice(tuned=kind))[0].rows) for kind in ("only", "without")] == [1, 1]


def test_how_the_options_of_a_row_were_found() -> None:
    said = {
        "trials": 20,
        "metric": "accuracy",
        "space": {"scale": {"log": [1.0, 3.0]}},
        "parameters": {"scale": 2.5123456},
        "wall_s": 3600.0,
    }
    tuned = dataclasses.replace(record_of(0.9, 1, scale=2.5123456), notes={"search": said})
    groups = groups_of([record_of(0.5), record_of(0.7, scale=2.0), record_of(0.8, scale=3.0), tuned])
    found = boards(groups, paths=PATHS)
    words = ["search of 20 trials in 1 h", "as set", "recipe wide", "not said"]
    assert [row.tuning.words for row in found[0].rows] == words
    assert found[0].rows[0].label == "test-linear (scale=2.512) [tuned, 20 trials]"
    rows = [row for row in json.loads(render(found, "json")) if row["primary"]]
    assert [row["options"] for row in rows] == words
    assert [(row["trials"], row["search_s"]) for row in rows] == [(20, 3600.0), (0, None), (0, None), (0, None)]
    assert all(f"| {text} | claimed |" in render(found, "md") for text in words)
    assert all(f"\n% options, {text}: test-linear" in render(found, "latex") for text in words)
    assert [column.head for column in table(found[0]).columns][-2:] == ["options", "verified"]
    assert all(text in render(found, "csv") and text in render(found, "html") for text in words)
    task_alone = (PATHS[0] / "blobs.py",)
    assert {row.tuning.words for row in boards(groups, paths=task_alone)[0].rows} == {"search of 20 trials in 1 h", "not known"}


def test_formats() -> None:
    found = boards(groups_of(several()), paths=PATHS, choice=Choice(rank_all=True))
    rows = json.loads(render(found, "json"))
    assert {(row["metric"], row["n"]) for row in rows} == {("accuracy", 1), ("accuracy", 3), ("class_nll", 1), ("class_nll", 3)}
    parsed = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert [float(row["mean"]) for row in parsed] == [row["mean"] for row in rows]
    markdown = render(found, "md")
    assert "| 1 | test-linear | 3 | 0.91 ± 0.02 |" in markdown and "| undecided | test-linear (scale=3.0) | 1 |" in markdown
    assert "Student t for n < 6" in markdown and "undecided: not told from the best" in markdown
    said = {(row["changed"], row["rank_low"], row["rank_high"], row["state"]) for row in rows if row["primary"]}
    assert said == {("", 1, 1, "top"), ('{"scale": 2.0}', 2, 2, "worse"), ('{"scale": 3.0}', None, None, "undecided")}
    assert {(row["rank_low"], row["state"]) for row in parsed if row["primary"] == "True"} == {
        ("1", "top"),
        ("2", "worse"),
        ("", "undecided"),
    }
    assert len(table(found[0]).columns[0].cells) == 3 and "more rows" not in table(found[0]).caption
    assert (
        len(table(found[0], top=1).columns[0].cells) == 1
        and "2 more rows: elboard leaderboard test/blobs" in table(found[0], top=1).caption
    )


def test_latex_compiles_or_at_least_parses(tmp_path: Path) -> None:
    found = boards(groups_of(several()), paths=PATHS, choice=Choice(rank_all=True))
    text = render(found, "latex")
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4 and len({line.count(" & ") for line in lines}) == 1
    assert [r"\textbf{0.91 $\pm$ 0.02}" in line for line in lines] == [False, True, False, False]  # the best alone, the header first
    assert text.count("{") == text.count("}") and r"class\_nll" in text
    if shutil.which("pdflatex"):
        document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}" + text + "\\end{document}"
        (tmp_path / "t.tex").write_text(document)
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_text_is_escaped() -> None:
    assert tex(r"a_b\c{$50%}") == r"a\_b\textbackslash{}c\{\$50\%\}"
    spec = resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS)
    hostile = dataclasses.replace(spec, method="<script>alert(1)</script>")
    record = Record.of(hostile, "a", "done", metrics={"accuracy": 0.5}, primary="accuracy")
    text = render(boards(groups_of([record]), paths=PATHS), "html")
    assert "<script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_counts_in_short() -> None:
    assert [amount(value) for value in (None, 7, 421642, 2.5e6, 3e9)] == ["–", "7", "422 k", "2.5 M", "3 G"]


def test_boards_side_by_side() -> None:
    (board,) = boards(groups_of(several()), paths=PATHS)
    other = dataclasses.replace(board, task="test/other", rows=board.rows[:2])
    across = gather([board, other], "smoke")
    assert across.tasks == ("test/blobs", "test/other") and across.values.shape == (2, 2, 3) and across.higher.all()
    assert across.values[0, 0].tolist() == pytest.approx([0.90, 0.91, 0.92]) and np.isnan(across.values[1, 0, 1:]).all()
    (part,) = complete(across)
    assert part.methods == across.methods == ("test-linear", "test-linear (scale=3.0)")
    assert gather([board], "smoke").methods == () and gather([board, other], "lite").tasks == ()


def test_a_truncated_record_is_left_out_with_a_warning(tmp_path: Path) -> None:
    good = record_of(0.5)
    write(good, tmp_path / good.key / "attempts" / "a.json")
    (tmp_path / "0" / "attempts").mkdir(parents=True)
    (tmp_path / "0" / "attempts" / "b.json").write_text('{"schema": 3, "key"')
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert [record.key for record in load(tmp_path, shipped=False)] == [good.key]
    assert "b.json: not valid JSON, perhaps truncated; it is left out" in str(heard[0].message)


def test_marks_keep_apart_what_has_other_parameters() -> None:
    names, notes = short_names(("nll[k=5]", "fd[a,n=2]", "kid[a,n=2]", "fd[b,n=2]/x", "mse"))
    assert names == {"nll[k=5]": "nll¹", "fd[a,n=2]": "fd²", "kid[a,n=2]": "kid²", "fd[b,n=2]/x": "fd/x³", "mse": "mse"}
    assert notes == "¹ k=5; ² a,n=2; ³ b,n=2"


def test_trials_of_searches_are_on_no_board() -> None:
    trial = dataclasses.replace(record_of(0.9), notes={"trial": {"search": "x", "number": 3}})
    (board,) = boards(groups_of([record_of(0.5, seed=1), trial]), paths=PATHS)
    assert [row.seeds for row in board.rows] == [(1,)]


def board_of(task: str, metrics: dict[str, float], *shown: str, **options: object) -> Board:
    method = {"generation": "vae", "calibration": "softmax"}[task.split("/")[0]]
    record = Record.of(resolve(task, method, budget="smoke", overrides=options), "a", "done", metrics=metrics, primary=next(iter(metrics)))
    (board,) = boards(groups_of([record]), choice=Choice(metrics=shown or ("all",)))
    return board


def test_a_saturated_value_is_a_bound_and_the_board_says_so() -> None:
    key, most = "mutual_information[n=200]", math.log(200)  # 5.298
    assert [number(cell(mean, 3, 0.001), key=key) for mean in (most, most - 0.049)] == ["≥ 5.2983", "≥ 5.2493"]
    assert number(cell(most - 0.051, 3, 0.001), key=key) == "5.2473 ± 0.0010" and number(cell(most, 3, 0.001)) == "5.2983 ± 0.0010"
    board = board_of("generation/digits", {"nll[k=8,n=50]": 20.0, key: most, "elbo[n=200]": -22.0})
    text = render([board], "md")
    assert "| ≥ 5.298 |" in text and f"≥: saturated, {key} is at most 5.30" in text and "| 20.00 |" in text
    assert r"$\geq$ 5.298" in render([board], "latex") and "≥ 5.298" in render([board], "html")
    said = {row["metric"]: row["saturated"] for row in json.loads(render([board], "json"))}
    assert said == {**dict.fromkeys(board.columns, False), key: True}
    assert table(board).columns[3 + board.columns.index(key)].cells == ["≥ 5.298"] and "at most 5.30" in table(board).caption
    free = board_of("generation/digits", {"nll[k=8,n=50]": 20.0, key: most - 0.1})
    assert "≥" not in render([free], "md")


def test_what_is_beyond_all_bounds_leaves_json_valid() -> None:
    spec = resolve("generation/digits", "vae", budget="smoke")
    found = [
        Record.of(dataclasses.replace(spec, seed=seed), str(seed), "done", metrics={"elbo": 1e160 * (seed + 1)}, primary="elbo")
        for seed in range(3)
    ]
    strict = {"parse_constant": lambda word: pytest.fail(f"{word} is not JSON")}
    (row,) = json.loads(render(boards(groups_of(found)), "json"), **strict)
    assert row["mean"] == pytest.approx(2e160) and row["low_95"] is None and row["high_95"] is None


def test_columns_of_other_numbers_of_examples_say_them() -> None:
    board = board_of("calibration/mnist", {"class_nll": 0.5, "class_nll/shift": 2.0, "accuracy": 0.9, "accuracy[n=100]": 0.9})
    assert board.examples == {"class_nll": "200", "class_nll/shift": "50", "accuracy": "200"}, "a key with n says its own"
    assert "| accuracy (of 200) ↑ | class_nll (of 200) ↓ | class_nll/shift (of 50) ↓ |" in render([board], "md")
    assert r"class\_nll/shift (of 50) $\downarrow$" in render([board], "latex")
    shown = {row["metric"]: row["examples"] for row in csv.DictReader(io.StringIO(render([board], "csv")))}
    assert shown == board.examples
    assert short_names(board.columns, board.examples) == (
        {"class_nll": "class_nll¹", "class_nll/shift": "class_nll/shift²", "accuracy": "accuracy¹"},
        "¹ of 200; ² of 50",
    )
    own = board_of("calibration/mnist", {"class_nll": 0.5, "class_nll/shift": 2.0, "accuracy": 0.9}, **{"task.n_test": 60})
    assert "class_nll (of 200 but in rows with options of the task) ↓" in render([own], "md"), "of such a row the card says nothing"
    assert {row["examples"] for row in csv.DictReader(io.StringIO(render([own], "csv")))} == {""}
    alone = board_of("calibration/mnist", {"class_nll": 0.5, "class_nll/shift": 2.0, "accuracy": 0.9}, "class_nll", "accuracy")
    assert alone.examples == {} and "(of" not in render([alone], "md"), "nothing to tell apart"
    said = {row["metric"]: row["examples"] for row in json.loads(render([board_of("generation/digits", {"nll[k=8,n=50]": 20.0})], "json"))}
    assert said == {"nll[k=8,n=50]": "50"}


def test_notes_of_latex_stay_comments() -> None:
    """A row's name may hold whatever an option's value does."""
    lines = markup.latex("l", ["a"], [["b"]], ["options, as set: m (x=1\n\\input{y})"]).splitlines()
    assert lines[:3] == ["% options, as set: m (x=1", r"% \input{y})", r"\begin{tabular}{l}"]


HOSTILE = "\x1b[2J\x9b|a\u202eb\u2028 <script> \\input{x} ![i](http://e/x.png) `c` *d*\n=1+1"


def test_what_an_option_says_is_text_in_every_format() -> None:
    board = build([dataclasses.replace(record_of(0.9), identity=record_of(0.9).identity | {"options": {"method": {"scale": HOSTILE}}})])
    (row,) = board.rows
    assert row.label.isprintable() and r"\x1b[2J\x9b|a\u202eb\u2028" in row.label
    for kind in ("md", "latex", "csv", "html", "json"):
        assert all(line.isprintable() for line in render([board], kind).splitlines()), kind
    for line in render([board], "md").splitlines():
        if "input" in line:
            assert "<" not in line.replace("<br>", "") and "](" not in line and r"\|a" in line and r"\`c\`" in line and r"\*d\*" in line
    assert not any(word in line for line in render([board], "latex").splitlines() if line[0] != "%" for word in (r"\input", r"\x1b", "<"))


def test_a_spreadsheet_computes_nothing() -> None:
    board = build([record_of(0.9)])
    of = board.rows[0].of.of
    named = dataclasses.replace(of, name=(*of.name[:3], "=cmd|'/C calc'!A0", *of.name[4:]))
    row = dataclasses.replace(board.rows[0], of=dataclasses.replace(board.rows[0].of, of=named))
    text = render([dataclasses.replace(board, rows=(row,))], "csv")
    assert ",'=cmd|" in text and ",=" not in text
    assert markup.cell("-1") == "'-1" and markup.cell(-1.0) == -1.0


def test_a_method_that_is_not_here_shows_by_its_name_and_a_task_that_is_not_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records say nothing of where code lies: it may have moved, or be on another machine."""
    here = tmp_path / "runs"
    for spec in (resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS), moved(resolve("links/cora", "gae", budget="lite"))):
        card = discover("task", PATHS)[spec.task].card
        write(Record.of(spec, "a", "done", metrics={card.primary: 0.5}, primary=card.primary), here / spec.key / "attempts" / "a.json")
    assert PLUGINS[0] not in "".join(file.read_text() for file in here.glob("*/attempts/*.json"))
    monkeypatch.chdir(tmp_path)
    cli.leaderboard("links/cora", shipped=False, out=here)
    assert "mine" in capsys.readouterr().out
    cli.leaderboard(shipped=False, out=here)
    said = capsys.readouterr()
    assert "mine" in said.out and "no board of test/blobs: not here" in said.err


def moved(spec: RunSpec) -> RunSpec:
    return dataclasses.replace(spec, method="mine", code={"method": "0" * 16})
