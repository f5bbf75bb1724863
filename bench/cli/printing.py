"""What commands that print share: records, tables, the terminal, warnings."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elboard.bench.errors import check_known, printable
from elboard.bench.registry import discover
from elboard.bench.run import root_folder


@contextmanager
def telling() -> Iterator[None]:
    """Warnings of what is done within as lines on standard error."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in heard:
                print(f"warning: {printable(str(warning.message))}", file=sys.stderr)


def read_groups(out: Path | None, shipped: bool, pattern: str = "") -> list[Any]:
    """Groups of records, metrics that were computed later included; what was set aside is said on standard error."""
    from elboard.results.backfill import filled
    from elboard.results.store import groups

    with telling():
        return filled(groups(root_folder(out), shipped, pattern), root_folder(out))


def check_scope(which: str, paths: tuple[Path, ...]) -> None:
    """Raises UserError where ``which`` is no task and no family of tasks, and not empty."""
    tasks = discover("task", paths)
    if which:
        check_known("task or family", which, {*tasks, *(entry.card.family for entry in tasks.values())})


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A plain table on standard output: the columns that fit the terminal, those that do not by name; all where the output is none."""
    from elboard.results import markup

    width = terminal_width()
    lines, hidden = markup.plain(columns, rows, width)
    print("\n".join([*lines, *markup.hidden_text(hidden, width)]))


def terminal_width() -> int:
    """The terminal's columns; 0 where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def print_tables(found: list[Any], top: int = 0, wide: bool = False) -> None:
    """Boards as tables, the ``top`` first rows of each, all if 0; with the columns that fit the terminal, or ``wide``, whole."""
    from elboard.results.board.terminal import table

    width, strong = terminal_width(), sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    for board in found:
        print("\n".join(table(board, top, 0 if wide else width).lines(width, strong)))
