"""Boards for the terminal: columns that do not fit are left out by their importance and named; no name and no number is broken."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from elboard.results import markup
from elboard.results.board.build import Board, Row, arrow
from elboard.results.board.render import SIGNS, amount, caption, heading, number, rank_text, short_names

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
FOLDED = 24  # columns of text that may be folded at its spaces
GAP = 3  # between two columns


@dataclass
class Column:
    """A column: ``name`` where it is left out; ``fold``, the width beyond which its texts are folded at spaces, 0 for never."""

    name: str
    head: str
    cells: Sequence[str]
    fold: int = 0
    left: bool = False
    bold: bool = False

    def full(self) -> int:
        """The width of its longest line."""
        return max(len(line) for text in (self.head, *self.cells) for line in text.split("\n"))

    def need(self) -> int:
        """The width that it takes, below which nothing would stay whole."""
        if not self.fold:
            return self.full()
        return max(min(self.full(), self.fold), *(len(word) for text in (self.head, *self.cells) for word in text.split()))

    def block(self, text: str, need: int) -> list[str]:
        """The lines of one of its texts, each ``need`` wide."""
        lines = markup.fold(text, need) if self.fold and len(text) > need else text.split("\n")
        return [line.ljust(need) if self.left else line.rjust(need) for line in lines]


@dataclass(frozen=True)
class Table:
    """A board as text: ``title`` above its ``columns``, ``caption`` below."""

    title: str
    columns: Sequence[Column]
    caption: str

    def lines(self, width: int = 0, strong: bool = False) -> list[str]:
        """For ``width`` columns, 0 for any, at which title and caption are folded; ``strong``, with what is bold.

        Not rich's table, which takes 0.35 s for 50 boards of ten rows.
        """
        needs = [column.need() for column in self.columns]
        rows = zip(*((column.head, *column.cells) for column in self.columns), strict=True)
        out = [*markup.fold(self.title, width), ""]
        for i, texts in enumerate(rows):
            blocks = [column.block(text, need) for column, text, need in zip(self.columns, texts, needs, strict=True)]
            height = max(map(len, blocks))
            for column, need, block in zip(self.columns, needs, blocks, strict=True):
                block += [" " * need] * (height - len(block))
                if strong and (column.bold or not i):
                    block[:] = [f"{BOLD}{line}{PLAIN}" for line in block]
            out += [("  " + (" " * GAP).join(line)).rstrip() for line in zip(*blocks, strict=True)]
            out += [] if i else [" " + "─" * (sum(needs) + GAP * len(needs) - 1)]
        return [*out, "", *itertools.chain.from_iterable(markup.fold(text, width) for text in self.caption.split("\n")), ""]


def table(board: Board, top: int = 0, width: int = 0) -> Table:
    """``board`` for the terminal, the ``top`` first rows; all if 0.

    Args:
        width: of the terminal; 0 shows every column, however wide. What is known of the runs goes before metrics, metrics go from the last
            in the task's order, then the numbers of seeds, then the ranks; the rows' names and the metric that ranks them are always there.
    """
    rows = board.rows[:top] if top else board.rows
    columns, hidden = [*_first(board, rows), *_metrics(board, rows), *_costs(rows)], []
    rank, method, n, *others = columns
    spare = [rank, n, *(column for column in others if column.name != board.primary)]
    while width and spare and _width(columns) > width:
        hidden.append(spare.pop())
        columns.remove(hidden[-1])
    if width and _width(columns) > width:
        method.fold = max(1, method.full() + width - _width(columns))
    notes = short_names([key for key in board.columns if any(key == column.name for column in columns)], board.examples_said)[1]
    names = ", ".join(column.name for column in reversed(hidden))
    left_out = f"not in {width} columns: {names}; elboard leaderboard {board.task} --wide" if hidden else ""
    more = f"{len(board.rows) - len(rows)} more rows: elboard leaderboard {board.task}" if len(rows) < len(board.rows) else ""
    return Table(heading(board), columns, "\n".join(filter(None, (caption(board), notes, left_out, more))))


def _width(columns: Sequence[Column]) -> int:
    """Of a table of ``columns``."""
    return sum(column.need() + GAP for column in columns) + 1


def _first(board: Board, rows: Sequence[Row]) -> list[Column]:
    return [
        Column("#", "#", [rank_text(row, board.primary) for row in rows]),
        Column("method", "method", [row.label for row in rows], left=True),
        Column("n", "n", [str(row.n) for row in rows]),
    ]


def _metrics(board: Board, rows: Sequence[Row]) -> list[Column]:
    names, found = short_names(board.columns, board.examples_said)[0], []
    for key in board.columns:
        name = names[key].replace("/", "\n/", 1) if len(names[key]) >= 12 else names[key]  # a long one on two lines
        cells = [number(row.cells.get(key), key=key) for row in rows]
        found.append(Column(key, f"{name} {arrow(key)}".strip(), cells, bold=key == board.primary))
    return found


def _costs(rows: Sequence[Row]) -> list[Column]:
    """What is known of the runs."""
    wall = ["–" if row.cost.get("wall_s") is None else f"{row.cost['wall_s']:.1f}" for row in rows]
    counts = {name: [amount(row.cost.get(name)) for row in rows] for name in ("parameters", "energy_j")}
    return [
        Column("wall s", "wall s", wall),
        Column("parameters", "parameters", counts["parameters"]),
        *([Column("energy J", "energy J", counts["energy_j"])] if any("energy_j" in row.cost for row in rows) else []),
        Column("options", "options", [row.tuning.words for row in rows], fold=FOLDED, left=True),
        Column("verified", "verified", [SIGNS[row.badge] for row in rows], left=True),
    ]
