"""``table``, ``claims``, ``site`` and ``serve``: the papers' tables and claims from records, and all of it as pages."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench import papers
from elboard.bench.cli.app import Counted, Engine, Out, OutThere, Paths, Shipped, TrackerName, app, argument
from elboard.bench.cli.printing import read_groups, telling, terminal_width
from elboard.bench.cli.running import run_sweep
from elboard.bench.config import BUDGETS
from elboard.bench.errors import check_known
from elboard.bench.folders import existing
from elboard.bench.registry import discover
from elboard.bench.run import root_folder

WIDEST = 120  # columns in which sentences are read with ease


@app.command()
def table(
    paper: Annotated[str, typer.Argument(help="A paper's slug or number (`elboard list papers`).")],
    run: Annotated[bool, typer.Option("--run", help="First run what is missing for it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs that are missing, and what they cost.")] = False,
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full (default: the paper file's).")] = "",
    kind: Annotated[str, typer.Option("--format", help="table, md, latex, json or html.")] = "table",
    shipped: Counted = True,
    jobs: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    engine: Engine = "local",
    profile: Annotated[str, typer.Option(help="Of slurm.")] = "slurm",
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Of slurm.")] = None,
    address: Annotated[str, typer.Option(help="Of ray.")] = "",
    tracker: TrackerName = "none",
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """A paper's published numbers beside what is measured here."""
    from elboard.results.tables import FORMATS, heading, render, table, terminal

    check_known("format", kind, FORMATS)
    if budget:
        check_known("budget", budget, BUDGETS)
    if out and not (run or dry_run):
        existing(out)
    found, code = papers.paper(paper), 0
    chosen = budget or found.budget
    if run or dry_run:
        done = _done(read_groups(out, shipped))
        how = {"engine": engine, "jobs": jobs, "profile": profile, "max_jobs": max_jobs, "address": address}
        code = _run(found, chosen, done, dry_run, how, tracker, out, tuple(path))
        if dry_run:
            return code
    result = table(found, read_groups(out, shipped), chosen, tuple(path))
    if kind != "table":
        print(render(result, kind), end="")
    elif result.cells or result.rest:
        print(terminal(result, terminal_width()), end="")
    else:
        print(f"{heading(result)}: no published numbers are known; its claims: `elboard claims {found.slug}`")
    return code


def _done(groups: list[Any]) -> set[str]:
    """The runs of ``groups`` as :func:`elboard.sweeps.named.of_paper` knows them."""
    from elboard.sweeps.named import searched_key

    chosen = [(group, group.notes["search"]) for group in groups if group.notes.get("search")]
    searched = {
        searched_key(said["id"], said["trials"], seed)
        for group, said in chosen
        if {"id", "trials"} <= {*said}
        for seed in group.seeds.tolist()
    }
    return searched | {key for group in groups for key in group.keys}


def _run(
    found: papers.Paper, budget: str, done: set[str], dry: bool, how: dict, tracker: str, out: Path | None, paths: tuple[Path, ...]
) -> int:
    """What is not among ``done`` of the paper's runs, as a sweep."""
    from elboard.sweeps.named import of_paper

    tree = of_paper(found, budget, done, paths)
    if not tree["runs"]:
        print(f"nothing to run: all runs of {found.slug} at {budget} are done", file=sys.stderr)
        return 0
    with contextlib.nullcontext() if dry else contextlib.redirect_stdout(sys.stderr):  # standard output is the table's alone
        return run_sweep(tree, [], dry, how, tracker, out, False, paths)


@app.command()
def claims(
    which: Annotated[str, typer.Argument(help="A paper, or a status: holds, refuted, undecided, not-run, not-implemented.")] = "",
    kind: Annotated[str, typer.Option("--format", help="table, md or json.")] = "table",
    shipped: Counted = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Which of the papers' claims hold."""
    from elboard.results.claims import FORMATS, STATUSES, kept_ledger, render, terminal
    from elboard.results.kept import place

    check_known("format", kind, FORMATS)
    paths = tuple(path)
    status = which.replace("-", " ") if which.replace("-", " ") in STATUSES else ""
    paper = papers.paper(which) if which and not status else None
    methods, tasks = (discover(kind, paths) for kind in ("method", "task"))
    entries = kept_ledger(read_groups(out, shipped), methods, tasks, paths, place(root_folder(out)))
    chosen = [entry for entry in entries if paper and entry.paper.slug == paper.slug or paper is None and status in ("", entry.status)]
    if kind == "table":
        print(terminal(chosen, min(terminal_width() or WIDEST, WIDEST), every=bool(which)), end="")
    else:
        print(render(chosen, kind), end="")


@app.command()
def site(
    folder: Annotated[Path, argument("Folder to write; new, empty, or an old site.")] = Path("site"),
    shipped: Shipped = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Write the leaderboard as a static site that works from disk."""
    from elboard.results.board.site import build

    with telling():
        report = build(folder, root_folder(out), shipped, tuple(path))
    print(f"{folder / 'index.html'}: {report.pages} pages, {report.bytes / 2**20:.1f} MiB, {report.seconds:.1f} s")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: a free one.")] = 8000,
    shipped: Shipped = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Serve the leaderboard on this machine; it is built again when records change."""
    from elboard.results.board.site import serve as serve_site

    serve_site(root_folder(out), port, shipped, tuple(path))
