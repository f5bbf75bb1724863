"""``leaderboard``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from bench.errors import UserError, nearest
from bench.registry import discover


def print_boards(which: str, kind: str, shipped: bool, out: Path | None, paths: tuple[Path, ...]) -> None:
    """Print the boards of a task, a family, or all. Raises UserError for unknown names and formats."""
    from bench.run import root_folder
    from results.board.build import boards
    from results.board.render import FORMATS, render
    from results.store import load

    if kind not in FORMATS:
        raise UserError(f"no format {kind!r}: {nearest(kind, FORMATS)}")
    tasks = discover("task", paths)
    known = {*tasks, *(entry.card.family for entry in tasks.values())}
    if which and which not in known:
        raise UserError(f"no task or family {which!r}: {nearest(which, known)}")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        records = load(root_folder(out), shipped)
    for warning in heard:
        print(f"warning: {warning.message}", file=sys.stderr)
    found = boards(records, which, paths)
    if kind == "table":
        print_tables(found)
        if not found:
            print("no records yet; try `elboard sweep quickstart`")
    else:
        print(render(found, kind), end="")


def print_tables(found: list[Any]) -> None:
    """Boards as tables on the terminal."""
    from rich.console import Console

    from results.board.render import table

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    for board in found:
        console.print(table(board), highlight=False, markup=False)
