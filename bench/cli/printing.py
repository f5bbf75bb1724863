"""What commands that print share: records, tables, the terminal, warnings."""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elboard.bench.errors import check_known
from elboard.bench.registry import discover
from elboard.bench.run import root_folder

WIDE = 500  # columns of what is not a terminal: a table in a file or a pipe is never folded


@contextmanager
def telling() -> Iterator[None]:
    """Warnings of what is done within as lines on standard error."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in heard:
                print(f"warning: {warning.message}", file=sys.stderr)


def read_groups(out: Path | None, shipped: bool, pattern: str = "") -> list[Any]:
    """Groups of records, metrics that were computed later included; what was set aside is said on standard error."""
    from elboard.results.backfill import filled
    from elboard.results.store import groups

    with telling():
        return filled(groups(root_folder(out), shipped, pattern), root_folder(out), shipped)


def check_scope(which: str, paths: tuple[Path, ...]) -> None:
    """Raises UserError where ``which`` is no task and no family of tasks, and not empty."""
    tasks = discover("task", paths)
    if which:
        check_known("task or family", which, {*tasks, *(entry.card.family for entry in tasks.values())})


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A plain table on standard output; folded to the terminal's width, whole where the output is not a terminal.

    Not rich's: that takes 0.3 s for a hundred rows, and listings are to be instant.
    """
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1) if sys.stdout.isatty() else sum(widths)
    while sum(widths) > room and max(widths) > 12:
        widths[widths.index(max(widths))] -= 1
    for row in (columns, ["-" * width for width in widths], *rows):
        folded = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            print("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def console_of(width: int) -> Any:
    """The terminal; what is none has ``width`` columns."""
    from rich.console import Console

    console = Console(emoji=False)
    return console if console.is_terminal else Console(width=width, emoji=False)


def print_tables(found: list[Any], top: int = 0, wide: bool = False) -> None:
    """Boards as tables, the ``top`` first rows of each, all if 0; with the columns that fit the terminal, or ``wide``, whole."""
    from elboard.results.board.terminal import table

    console = console_of(WIDE)
    width = console.width
    for board in found:
        made = table(board, top, width if console.is_terminal and not wide else 0)
        least = console.measure(made, options=console.options.update(width=WIDE)).minimum  # rich would break what does not fit
        console.width = max(width, least)
        console.print(made, highlight=False, markup=False, crop=False)
