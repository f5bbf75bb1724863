"""``run`` and ``sweep``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench.cli.app import Engine, Force, Out, Paths, TrackerName, app
from elboard.bench.cli.live import display
from elboard.bench.cli.printing import print_tables
from elboard.bench.config import parse_overrides, parse_seeds, resolve
from elboard.bench.errors import UserError, command
from elboard.bench.folders import places
from elboard.bench.journal import check_tracker
from elboard.bench.metrics.conventions import convention
from elboard.bench.plugins import aside
from elboard.bench.registry import find
from elboard.bench.run import root_folder
from elboard.bench.runs import Runs

SHOWN = 20  # failures and pictures listed at the end of a sweep


@app.command(context_settings={"allow_interspersed_args": True})
def run(
    task: str,
    method: str,
    options: Annotated[
        list[str], typer.Argument(help="key=value: latent_dim=8 train.epochs=3 trainer.devices=2 wandb.mode=offline ...")
    ] = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="One seed (default 0).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-4 or 0,2,5.")] = None,
    budget: Annotated[str, typer.Option(help="smoke, lite or full.")] = "lite",
    as_json: Annotated[bool, typer.Option("--json", help="Print records as JSON lines.")] = False,
    recipe: Annotated[str, typer.Option(help="Options that the method's card names (`elboard show METHOD`), beneath those given.")] = "",
    tracker: TrackerName = "none",
    jobs: Annotated[int, typer.Option(help="Worker processes for several seeds.")] = 1,
    out: Out = None,
    force: Force = False,
    path: Paths = [],  # noqa: B006
) -> int:
    """Run a method on a task."""
    from elboard.sweeps.engines.local import run_all

    if seed is not None and seeds is not None:
        raise UserError("give --seed or --seeds, not both")
    chosen = parse_seeds(seeds) if seeds is not None else [seed or 0]
    chosen_by = find("method", method, tuple(path)).card.recipe(recipe) if recipe else {}
    overrides = chosen_by | parse_overrides(options)
    known = tuple(map(str, path))
    specs = [resolve(task, method, seed=s, budget=budget, overrides=overrides, paths=known) for s in chosen]
    _check(tracker, jobs)
    first = {} if force else {base.key: base for spec in specs for base in spec.starts_from()}
    runs, asked = {**first, **{spec.key: spec for spec in specs}}, {spec.key for spec in specs}
    with aside(), display(len(runs)) as watch:
        outcomes = run_all(list(runs.values()), root_folder(out), jobs=jobs, tracker=tracker, force=force, watch=watch)
    outcomes = [outcome for outcome in outcomes if outcome.spec.key in asked]
    _print_outcomes(outcomes, as_json, out)
    return int(any(outcome.state not in ("done", "present") for outcome in outcomes))


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(help="A sweep of `elboard list sweeps` (paper:SLUG, lite), or a YAML file.")],
    options: Annotated[list[str], typer.Argument(help="key=value, over what the file sets.")] = [],  # noqa: B006
    jobs: Annotated[int | None, typer.Option(help="Worker processes (default: one per core, one if there is a GPU).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs, what is done of them, and what the rest costs.")] = False,
    engine: Engine = "local",
    profile: Annotated[str, typer.Option(help="Of slurm: a YAML file, or a name of sweeps/profiles.")] = "slurm",
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Of slurm: workers at a time (default: the profile's).")] = None,
    address: Annotated[str, typer.Option(help="Of ray: an existing cluster (default: one on this machine).")] = "",
    budget: Annotated[str, typer.Option(help="Of a paper's sweep: smoke, lite or full (default: lite).")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Of the sweep lite: every method on every task that it fits.")] = False,
    tracker: TrackerName = "none",
    out: Out = None,
    force: Force = False,
    path: Paths = [],  # noqa: B006
) -> int:
    """Run all runs of a sweep, then print its leaderboards. What is done is not run again."""
    from elboard.sweeps.named import find

    how = {"engine": engine, "jobs": jobs, "profile": profile, "max_jobs": max_jobs, "address": address}
    return run_sweep(find(name, budget, everything, tuple(path)), options, dry_run, how, tracker, out, force, tuple(path))


def run_sweep(
    source: Any, options: list[str], dry: bool, how: dict[str, Any], tracker: str, out: Path | None, force: bool, paths: tuple[Path, ...]
) -> int:
    """All runs of a sweep, a file or a tree, on the engine that ``how`` names; locally and on Ray its boards too. Returns the exit code."""
    from elboard.sweeps.engines import find as find_engine
    from elboard.sweeps.plan import expand, plan_of

    sweep = expand(source, parse_overrides(options), tuple(str(path) for path in paths))
    engine = find_engine(how["engine"])
    root = root_folder(out)
    if dry:
        from elboard.bench.cli.planning import print_plan

        print_plan(sweep, root, how)
        return 0
    _check(tracker, how["jobs"])
    plan = plan_of(sweep, root, tracker)
    plan.save()
    if not engine.attached:
        return engine.start(plan, how)
    with aside(), display(sweep.size) as watch:
        outcomes = engine.run(plan, how, force, watch)
    code = _report(sweep, [outcome for outcome in outcomes if "trial" not in outcome.spec.origin], root, out)
    for history in plan.histories():
        print(f"search of {history}")
        code = code if history.final() else 1  # it has not led to a choice
    return code


def _report(sweep: Any, outcomes: list[Any], root: Path, out: Path | None) -> int:
    """The runs that count, without the trials of searches."""
    from elboard.results.board.build import boards
    from elboard.results.store import groups_of

    print_tables(boards(groups_of(outcome.record for outcome in outcomes if outcome.record), paths=places(sweep.paths)))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed[:SHOWN]:
        print(_failed(outcome, out), file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more failed: `{command('status', sweep.name, '--json', out=out)}` lists them", file=sys.stderr)
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "present", "failed")}
    left = len(outcomes) - sum(counts.values())
    undone = f", {left} left undone: the same command goes on" if left else ""
    print(f"{sweep.name}: {counts['done']} runs done now, {counts['present']} done before, {counts['failed']} failed{undone}")
    print(f"records: {root / '<key>' / 'attempts'}   pictures: {root / '<key>' / 'pictures'}")
    first: dict[tuple[str, str], Any] = {}  # of each method on each task: the pictures of its other seeds look alike
    for outcome in outcomes:
        if outcome.record:
            first.setdefault((outcome.spec.method, outcome.spec.task), outcome)
    for outcome in list(first.values())[:SHOWN]:
        for picture in outcome.record.files.get("pictures", []):
            print(f"  {outcome.spec.method} on {outcome.spec.task}: {Runs(root).folder(outcome.spec) / picture}")
    return int(bool(failed or left))


def _failed(outcome: Any, out: Path | None) -> str:
    """What failed, why, and where to read on."""
    spec, key = outcome.spec, outcome.record.key if outcome.record else outcome.spec.key
    return f"failed: {spec.method} on {spec.task}, seed {spec.seed}: {outcome.message}\n  log: {command('logs', key, out=out)}"


def _check(tracker: str, jobs: int | None) -> None:
    check_tracker(tracker)
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least 1")


def _print_outcomes(outcomes: list[Any], as_json: bool, out: Path | None) -> None:
    for outcome in outcomes:
        if as_json and outcome.record:
            print(json.dumps({"state": outcome.state, **asdict(outcome.record)}, sort_keys=True))
        elif outcome.state == "failed":
            print(_failed(outcome, out), file=sys.stderr)
        elif outcome.record is None:
            print(
                f"left undone: {outcome.spec.method} on {outcome.spec.task}, seed {outcome.spec.seed}: {outcome.message}", file=sys.stderr
            )
        else:
            record = outcome.record
            spec = outcome.spec
            print(f"{spec.method} on {spec.task}, seed {spec.seed}, {spec.budget} ({outcome.state}, key {record.key})")
            width = max(len(name) for name in record.metrics)
            for name, value in record.metrics.items():
                mark = " <- primary" if name == record.primary else ""
                print(f"  {name:{width}}  {value:.6g} {convention(name).unit}{mark}")
