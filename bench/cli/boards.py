"""``leaderboard``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import discover

FEW = 10
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
    from elboard.bench.run import root_folder
    from elboard.results.backfill import filled
    from elboard.results.store import groups

    with telling():
        return filled(groups(root_folder(out), shipped, pattern), root_folder(out), shipped)


def index_of(root: Path) -> Path | None:
    """The folder for what can be made again, of a folder of runs that is there."""
    from elboard.results.store.homes import FOLDER

    return root / FOLDER if root.is_dir() else None


def print_boards(
    which: str, kind: str, shipped: bool, out: Path | None, paths: tuple[Path, ...], options: dict[str, Any], top: int | None = None
) -> None:
    """Print the boards of a task, a family, or all. Raises UserError for unknown names and formats.

    ``top``: rows of each table on the terminal, 0 for all; if None all of one task's, FEW of each of several.
    """
    from elboard.bench.run import root_folder
    from elboard.results.badges import badges
    from elboard.results.board.build import Choice, boards
    from elboard.results.board.render import FORMATS, render

    if kind not in FORMATS:
        raise UserError(f"no format {kind!r}: {nearest(kind, FORMATS)}")
    tasks = discover("task", paths)
    known = {*tasks, *(entry.card.family for entry in tasks.values())}
    if which and which not in known:
        raise UserError(f"no task or family {which!r}: {nearest(which, known)}")
    choice = Choice(**options, rank_all=kind != "table")
    _check(choice)
    root, groups = root_folder(out), read_groups(out, shipped, which)
    with telling():
        found = boards(groups, which, paths, choice, badges(root, shipped, groups), index_of(root))
        if kind != "table":
            print(render(found, kind), end="")
            return
    print_tables(found, top if top is not None else 0 if which in tasks else FEW)
    if not found:
        print("no records of these; try `elboard sweep quickstart`")


def _check(choice: Any) -> None:
    from elboard.bench.metrics.conventions import convention

    for key in (*choice.metrics, *([choice.sort] if choice.sort else [])):
        if key != "all":
            convention(key)
    if choice.sort and convention(choice.sort).direction == "none":
        raise UserError(f"metric {choice.sort!r} has no direction to sort by")
    if choice.tuned not in ("", "only", "without"):
        raise UserError(f"--tuned is only or without, not {choice.tuned!r}")
    if choice.budget not in ("", "smoke", "lite", "full"):
        raise UserError(f"no budget {choice.budget!r}: smoke, lite or full")


def print_tables(found: list[Any], top: int = 0) -> None:
    """Boards as tables on the terminal, the ``top`` first rows of each; all if 0."""
    from rich.console import Console

    from elboard.results.board.render import table

    console = Console(emoji=False)
    if not console.is_terminal:
        console = Console(width=WIDE, emoji=False)
    for board in found:
        console.print(table(board, top, console.width), highlight=False, markup=False)
