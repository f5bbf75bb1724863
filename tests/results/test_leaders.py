"""Who leads, in the terminal and on the site: numbers, few names, and how many more are not told from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from elboard.bench.cli import main
from elboard.results.board.build import Board, Choice, Row, boards
from elboard.results.board.leaders import NAMED, leaders, lines
from elboard.results.board.render import number
from elboard.results.stats import Standing
from elboard.results.store import groups


@pytest.fixture(scope="module")
def shipped() -> list[Board]:
    return boards(groups(None))


def standing(board: Board, states: Sequence[str]) -> Board:
    """``board`` with as many rows, in these states."""
    ranks = [{board.primary: Standing(1, 2, state)} for state in states]
    return dataclasses.replace(board, rows=tuple(dataclasses.replace(board.rows[0], ranks=of) for of in ranks))


@pytest.mark.parametrize(
    ("states", "named", "note"),
    [
        (["top", "worse"], 1, ""),
        (["top"] * 3, 3, ""),
        (["top"] * 7 + ["worse"], 3, "and 4 not separable"),
        (["undecided", "top", "undecided", "worse"], 1, "and 2 not separable"),
        (["undecided"], 1, "undecided"),
        (["undecided"] * 5, 3, "and 2 not separable; undecided"),
        ([], 0, "undecided"),
    ],
)
def test_few_are_named_and_the_others_are_counted(shipped: list[Board], states: list[str], named: int, note: str) -> None:
    board = standing(shipped[0], states)
    found = leaders(board)
    assert (len(found.rows), found.note) == (named, note)
    assert {row.ranks[board.primary].state for row in found.rows} <= ({"top"} if "top" in states else {"undecided"})


@pytest.mark.parametrize("width", [40, 60, 80, 0])
def test_each_leader_stands_beside_its_number_whatever_the_width(shipped: list[Board], width: int) -> None:
    for board in shipped:
        found, said = leaders(board), lines([board], width)
        assert 1 <= len(found.rows) <= NAMED and board.primary in " ".join(said)
        for row in found.rows:
            text = number(row.cells[board.primary], key=board.primary)
            assert any(f"  {text}  {row.label.split()[0]}" in line for line in said), (board.task, row.label)
            assert all(word in " ".join(said) for word in row.label.split())
        assert width == 0 or max(map(len, said)) <= max(width, *(len(word) + 22 for word in " ".join(said).split()))


def test_without_a_task_the_leaders_are_printed(
    shipped: list[Board], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[: len(lines(shipped))] == lines(shipped) and "elboard leaderboard TASK" in said
    assert main(["leaderboard", "--top", "1"]) == 0
    assert "more rows: elboard leaderboard" in capsys.readouterr().out
    assert main(["leaderboard", "links", "--budget", "full", "--no-shipped"]) == 0
    assert "no records of these" in capsys.readouterr().out


def test_what_has_no_order_has_no_leaders(shipped: list[Board]) -> None:
    (board,) = boards(groups(None), "collapse/bits", choice=Choice(sort="kl/mean"))
    assert lines([board]) == [] and leaders(board).rows == ()
    failed: tuple[Row, ...] = tuple(dataclasses.replace(row, ranks={}, cells={}) for row in board.rows)
    assert lines([dataclasses.replace(board, rows=failed)]) == []
