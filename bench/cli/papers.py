"""``table`` and ``claims``: the papers' tables and claims from records."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.errors import UserError, nearest

if TYPE_CHECKING:
    from elboard.bench.papers import Paper

Paths = tuple[Path, ...]


def table_command(
    of: str, run: bool, dry: bool, budget: str, how: dict[str, Any], tracker: str, kind: str, shipped: bool, out: Path | None, paths: Paths
) -> int:
    """Print the table of a paper, after what is missing for it was run if ``run``. Returns the exit code.

    Raises UserError for an unknown paper, format or budget, and for a paper without a table or runs.
    """
    from elboard.bench.cli.boards import read_groups
    from elboard.bench.config import BUDGETS
    from elboard.bench.papers import paper
    from elboard.results.tables import FORMATS, heading, render, table, terminal

    if kind not in FORMATS:
        raise UserError(f"no format {kind!r}: {nearest(kind, FORMATS)}")
    if budget and budget not in BUDGETS:
        raise UserError(f"no budget {budget!r}: {nearest(budget, BUDGETS)}")
    found, code = paper(of), 0
    chosen = budget or found.budget
    if run or dry:
        done = {key for group in read_groups(out, shipped) for key in group.keys}
        code = _run(found, chosen, done, dry, how, tracker, out, paths)
        if dry:
            return code
    result = table(found, read_groups(out, shipped), chosen, paths)
    if kind != "table":
        print(render(result, kind), end="")
    elif result.cells or result.rest:
        _show(terminal(result))
    else:
        print(f"{heading(result)}: no published numbers are known; its claims: `elboard claims {found.slug}`")
    return code


def _show(table: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table, highlight=False, markup=False)


def _run(found: Paper, budget: str, done: set[str], dry: bool, how: dict[str, Any], tracker: str, out: Path | None, paths: Paths) -> int:
    """What is not among ``done`` of the paper's runs, through the sweep command."""
    from elboard.bench.cli.running import sweep_command
    from elboard.sweeps.named import of_paper

    tree = of_paper(found, budget, done, paths)
    if not tree["runs"]:
        print(f"nothing to run: all runs of {found.slug} at {budget} are done", file=sys.stderr)
        return 0
    with contextlib.nullcontext() if dry else contextlib.redirect_stdout(sys.stderr):  # standard output is the table's alone
        return sweep_command(tree, [], dry, how, tracker, out, False, paths)


def claims_command(which: str, format: str, shipped: bool, out: Path | None, paths: Paths) -> None:
    """Print the ledger of all claims, of the paper ``which`` (slug or number), or of those with the status ``which``.

    Raises UserError for unknown papers, statuses and formats.
    """
    from elboard.bench.cli.boards import read_groups
    from elboard.bench.papers import paper
    from elboard.bench.registry import discover
    from elboard.results.claims import FORMATS, STATUSES, ledger, render, terminal
    from elboard.results.measured import Measurements

    if format not in FORMATS:
        raise UserError(f"no format {format!r}: {nearest(format, FORMATS)}")
    status = which.replace("-", " ") if which.replace("-", " ") in STATUSES else ""
    of = [paper(which)] if which and not status else None
    entries = ledger(Measurements(read_groups(out, shipped), paths), discover("method", paths), discover("task", paths), of)
    chosen = [entry for entry in entries if status in ("", entry.status)]
    if format == "table":
        _show(terminal(chosen))
    else:
        print(render(chosen, format), end="")
