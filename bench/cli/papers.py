"""``table`` and ``claims``: the papers' tables and claims from records."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.errors import UserError, nearest

if TYPE_CHECKING:
    from elboard.results.papers import Paper


def table_command(
    slug: str,
    run: bool,
    dry: bool,
    budget: str,
    how: dict[str, Any],
    tracker: str,
    format: str,
    shipped: bool,
    out: Path | None,
    paths: tuple[Path, ...],
) -> int:
    """Print the table of a paper, after what is missing for it was run if ``run``. Returns the exit code.

    Raises UserError for an unknown paper, format or budget, and for a paper without a table or runs.
    """
    from elboard.bench.cli.boards import read_groups
    from elboard.bench.config import BUDGETS
    from elboard.results.papers import paper
    from elboard.results.tables import FORMATS, table

    if format not in FORMATS:
        raise UserError(f"no format {format!r}: {nearest(format, FORMATS)}")
    if budget and budget not in BUDGETS:
        raise UserError(f"no budget {budget!r}: {nearest(budget, BUDGETS)}")
    found, code = paper(slug), 0
    chosen = budget or found.budget
    if run or dry:
        done = {key for group in read_groups(out, shipped) for key in group.keys}
        code = _run(found, chosen, done, dry, how, tracker, out, paths)
        if dry:
            return code
    result = table(found, read_groups(out, shipped), chosen, paths)
    if format == "table":
        _print_table(result)
    else:
        from elboard.results.tables import render

        print(render(result, format), end="")
    return code


def _print_table(result: Any) -> None:
    from elboard.results.tables import heading, terminal

    if not result.cells and not result.rest:
        print(f"{heading(result)}: no published numbers are known; its claims: `elboard claims {result.paper.slug}`")
        return
    _show(terminal(result))


def _show(table: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table, highlight=False, markup=False)


def _run(
    found: Paper, budget: str, done: set[str], dry: bool, how: dict[str, Any], tracker: str, out: Path | None, paths: tuple[Path, ...]
) -> int:
    """What is not among ``done`` of the paper's runs, through the sweep command."""
    from elboard.bench.cli.running import sweep_command

    tree = sweep_of(found, budget, done, paths)
    if not tree["runs"]:
        print(f"nothing to run: all runs of {found.slug} at {budget} are done", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="elboard-") as folder, contextlib.ExitStack() as stack:
        if not dry:  # standard output is the table's alone
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        return sweep_command(str(_written(tree, Path(folder))), [], dry, how, tracker, out, False, paths)


def _written(tree: dict[str, Any], folder: Path) -> Path:
    import yaml

    file = folder / f"{tree['name']}.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return file


def sweep_of(found: Paper, budget: str, done: set[str] = frozenset(), paths: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a sweep file with the runs of a paper at ``budget`` whose keys are not in ``done``; of the same options together.

    Raises UserError where the paper has no runs at that budget.
    """
    from elboard.bench.config import resolve
    from elboard.sweeps.plan import parse_seeds

    if budget not in found.runs:
        have = f"it has some at {' and '.join(found.runs)}" if found.runs else f"see `elboard claims {found.slug}` for what is missing"
        raise UserError(f"{found.slug} has no runs at {budget}: {have}")
    known, runs = tuple(str(path) for path in paths), []
    for entry in found.runs[budget]:
        for task in entry["tasks"]:
            for method in entry["methods"]:
                words = {"budget": budget, "overrides": entry["set"], "origin": f"{found.slug}.yaml", "paths": known}
                seeds = [seed for seed in parse_seeds(entry["seeds"]) if resolve(task, method, seed=seed, **words).key not in done]
                if seeds:
                    runs.append({"tasks": [task], "methods": [method], "seeds": seeds, "set": dict(entry["set"])})
    return {"name": f"table-{found.slug}", "description": f"Runs for {found.title}.", "budget": budget, "runs": runs}


def claims_command(which: str, format: str, shipped: bool, out: Path | None, paths: tuple[Path, ...]) -> None:
    """Print the ledger of all claims, of the paper ``which`` (slug or number), or of those with the status ``which``.

    Raises UserError for unknown papers, statuses and formats.
    """
    from elboard.bench.cli.boards import read_groups
    from elboard.bench.registry import discover
    from elboard.results.claims import FORMATS, STATUSES, ledger, render, terminal
    from elboard.results.papers import paper

    if format not in FORMATS:
        raise UserError(f"no format {format!r}: {nearest(format, FORMATS)}")
    status = which.replace("-", " ") if which.replace("-", " ") in STATUSES else ""
    of = [paper(which)] if which and not status else None
    entries = ledger(read_groups(out, shipped), discover("method", paths), discover("task", paths), paths, of)
    chosen = [entry for entry in entries if status in ("", entry.status)]
    if format == "table":
        _show(terminal(chosen))
    else:
        print(render(chosen, format), end="")
