"""Boards on terminals of many widths: what is shown is whole, what is not is named."""

from __future__ import annotations

import contextlib
import io

import pytest

from elboard.bench.cli import printing
from elboard.results.board.build import Board, boards
from elboard.results.board.render import number
from elboard.results.board.terminal import BOLD, PLAIN, table
from elboard.results.store import groups


@pytest.fixture(scope="module")
def shipped() -> list[Board]:
    return boards(groups(None))


def printed(monkeypatch: pytest.MonkeyPatch, board: Board, width: int) -> str:
    out = io.StringIO()
    monkeypatch.setattr(printing, "terminal_width", lambda: width)
    with contextlib.redirect_stdout(out):
        printing.print_tables([board])
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 500])
def test_no_name_and_no_number_is_broken(monkeypatch: pytest.MonkeyPatch, shipped: list[Board], width: int) -> None:
    for board in shipped:
        text, names = printed(monkeypatch, board, width), [column.name for column in columns_of(board, width)]
        if width >= 60:
            assert max(map(len, text.splitlines())) <= width, board.task
        for row in board.rows:
            assert all(word in text for word in row.label.split()), (board.task, row.label)
            shown = [number(row.cells.get(key), key=key) for key in board.columns if key in names]
            assert shown and all(one in text for one in shown), (board.task, row.label)


def columns_of(board: Board, width: int) -> list:
    """The columns of ``board`` that are shown, by the words that name those that are not."""
    from elboard.results.board.terminal import _costs, _first, _metrics

    every = [*_first(board, board.rows), *_metrics(board, board.rows), *_costs(board.rows)]
    caption = table(board, 0, width).caption
    said = caption.split(f"not in {width} columns: ")[1].split(";")[0].split(", ") if "not in" in caption else []
    assert set(said) <= {column.name for column in every}
    left = [column for column in every if column.name not in said]
    assert len(left) == len(table(board, 0, width).columns) and board.primary in [column.name for column in left]
    return left


def test_columns_go_from_the_right_and_come_back_with_room(shipped: list[Board]) -> None:
    (board,) = [one for one in shipped if one.task == "generation/mnist"]
    before: set[str] = set()
    for width in (40, 60, 80, 100, 130, 160, 200, 500):
        names = [column.name for column in columns_of(board, width)]
        assert before <= set(names)
        kept = [key for key in board.columns if key in names]
        assert kept == list(board.columns[: len(kept)]), "metrics go from the last"
        before = set(names)
    assert len(before) == len(table(board).columns) and "not in" not in table(board).caption


def test_long_names_are_folded_at_their_spaces(monkeypatch: pytest.MonkeyPatch, shipped: list[Board]) -> None:
    board = max(shipped, key=lambda one: max(len(row.label) for row in one.rows))
    label = max((row.label for row in board.rows), key=len)
    room = max(len(word) for word in label.split()) + 30
    assert len(label) > 20
    text = printed(monkeypatch, board, min(room, len(label) + 15))
    assert all(word in text for word in label.split())


def test_columns_are_aligned_and_bold_adds_no_width(shipped: list[Board]) -> None:
    for board in shipped:
        said = table(board)
        plain, strong = said.lines(), said.lines(strong=True)
        assert [line.replace(BOLD, "").replace(PLAIN, "").rstrip() for line in strong] == plain and strong != plain
        rule = next(i for i, line in enumerate(plain) if line.startswith(" ─"))
        body = plain[rule + 1 : plain.index("", rule)]
        assert len(body) >= len(board.rows) and max(map(len, body)) <= len(plain[rule]) - 1
        edges = [sum(column.need() + 3 for column in said.columns[:i]) for i in range(1, len(said.columns))]
        assert all(line[edge - 1 : edge + 2].strip() == "" for line in body for edge in edges), board.task
