"""Who leads a board, in short: names with their numbers, and how many more are not told from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elboard.results import markup
from elboard.results.board.build import Board, Row, arrow
from elboard.results.board.render import number

NAMED = 3  # rows at most
MEANING = "not separable: not significantly worse than any row; undecided: nothing is told from anything worse"


@dataclass(frozen=True)
class Leaders:
    """The first ``rows`` by the primary metric, of the top group if there is one; ``more``, how many others are significantly worse than
    none; ``separated``, whether there is a top group."""

    rows: tuple[Row, ...]
    more: int
    separated: bool

    @property
    def note(self) -> str:
        """What follows the names: ``and 4 not separable; undecided``, or nothing."""
        more = f"and {self.more} not separable" if self.more else ""
        return "; ".join(filter(None, (more, "" if self.separated else "undecided")))


def leaders(board: Board) -> Leaders:
    """The leaders of ``board``."""
    standing = [row for row in board.rows if board.primary in row.ranks]
    top, undecided = ([row for row in standing if row.ranks[board.primary].state == state] for state in ("top", "undecided"))
    rows = (top or undecided)[:NAMED]
    return Leaders(tuple(rows), len(top) + len(undecided) - len(rows), bool(top))


def lines(boards: Sequence[Board], width: int = 0) -> list[str]:
    """The leaders of each of ``boards`` as text of at most ``width`` columns, 0 for any; no number and no word is broken."""
    out = []
    for board in boards:
        found = leaders(board)
        if not found.rows:  # all runs failed, or the metric has no direction
            continue
        old = "" if board.current else f" v{board.version} (old)"
        out += markup.fold(f"{board.task}{old}, {board.budget}: {board.primary} {arrow(board.primary)}", width)
        numbers = [number(row.cells[board.primary], key=board.primary) for row in found.rows]
        room = max(map(len, numbers))
        for row, text in zip(found.rows, numbers, strict=True):
            out += markup.fold(row.label, width, f"  {text:>{room}}  ", " " * (room + 4))
        out += markup.fold(found.note, width, " " * (room + 4), " " * (room + 4)) if found.note else []
    return out
