"""``run`` and ``sweep``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec, parse_overrides, resolve
from elboard.bench.errors import UserError, nearest
from elboard.bench.runs import Runs

TRACKERS = ("none", "csv", "wandb")
SHOWN = 20  # failures and pictures listed at the end of a sweep


def run_command(
    task: str,
    method: str,
    options: list[str],
    seed: int | None,
    seeds: str | None,
    budget: str,
    as_json: bool,
    tracker: str,
    jobs: int,
    out: Path | None,
    force: bool,
    paths: tuple[Path, ...],
) -> int:
    """One method on one task, for one seed or several. Returns the exit code."""
    from elboard.sweeps.plan import parse_seeds

    if seed is not None and seeds is not None:
        raise UserError("give --seed or --seeds, not both")
    chosen = parse_seeds(seeds) if seeds is not None else [seed or 0]
    overrides = parse_overrides(options)
    known = tuple(str(path) for path in paths)
    specs = [resolve(task, method, seed=s, budget=budget, overrides=overrides, paths=known) for s in chosen]
    outcomes = _run(specs, jobs, tracker, out, force)
    _print_outcomes(outcomes, as_json)
    return int(any(outcome.state == "failed" for outcome in outcomes))


def sweep_command(
    source: Any, options: list[str], dry: bool, how: dict[str, Any], tracker: str, out: Path | None, force: bool, paths: tuple[Path, ...]
) -> int:
    """All runs of a sweep, a file or a tree, on the engine that ``how`` names; locally and on Ray its boards too. Returns the exit code."""
    from elboard.bench.run import root_folder
    from elboard.sweeps.engines import find as find_engine
    from elboard.sweeps.plan import expand
    from elboard.sweeps.planned import plan_of

    sweep = expand(source, parse_overrides(options), tuple(str(path) for path in paths))
    engine = find_engine(how["engine"])
    root = root_folder(out)
    if dry:
        from elboard.bench.cli.planning import print_plan

        print_plan(sweep, root, how)
        return 0
    _check(tracker, how["jobs"])
    plan = plan_of(sweep, root, tracker)
    try:
        plan.save()
    except OSError as error:
        raise UserError(f"{root}: cannot be written ({error.strerror}); choose another folder with --out") from None
    if not engine.attached:
        return engine.start(plan, how)
    from elboard.bench.cli.live import display

    with display(sweep.size) as watch:
        outcomes = engine.run(plan, how, force, watch)
    code = _report(sweep, [outcome for outcome in outcomes if "trial" not in outcome.spec.origin], root, paths)
    return max(code, _report_searches(plan))


def _report_searches(plan: Any) -> int:
    """A line for each search; 1 where one has not led to a choice."""
    histories = plan.histories()
    for history in histories:
        print(f"search of {history}")
    return int(any(not history.final() for history in histories))


def _report(sweep: Any, outcomes: list[Any], root: Path, paths: tuple[Path, ...]) -> int:
    """The runs that count, without the trials of searches."""
    from elboard.bench.cli.boards import print_tables
    from elboard.results.board.build import boards
    from elboard.results.store import groups_of

    print_tables(boards(groups_of(outcome.record for outcome in outcomes if outcome.record), paths=paths))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed[:SHOWN]:
        print(f"failed: {outcome.spec.method} on {outcome.spec.task}, seed {outcome.spec.seed}: {outcome.message}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more failed: `elboard status {sweep.name} --json` lists them", file=sys.stderr)
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "present", "failed")}
    print(f"{sweep.name}: {counts['done']} runs done now, {counts['present']} done before, {counts['failed']} failed")
    print(f"records: {root / '<key>' / 'attempts'}   pictures: {root / '<key>' / 'pictures'}")
    for outcome in _first_of_each(outcomes)[:SHOWN]:
        for picture in outcome.record.files.get("pictures", []):
            print(f"  {outcome.spec.method} on {outcome.spec.task}: {Runs(root).folder(outcome.spec) / picture}")
    return int(bool(failed))


def _first_of_each(outcomes: list[Any]) -> list[Any]:
    """One run with a record of each method on each task: the pictures of its other seeds look alike."""
    first: dict[tuple[str, str], Any] = {}
    for outcome in outcomes:
        if outcome.record:
            first.setdefault((outcome.spec.method, outcome.spec.task), outcome)
    return list(first.values())


def _check(tracker: str, jobs: int | None) -> None:
    if tracker not in TRACKERS:
        raise UserError(f"no tracker {tracker!r}: {nearest(tracker, TRACKERS)}")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least 1")


def _run(specs: list[RunSpec], jobs: int, tracker: str, out: Path | None, force: bool) -> list[Any]:
    from elboard.bench.cli.live import display
    from elboard.bench.run import root_folder
    from elboard.sweeps.engines.local import run_all

    _check(tracker, jobs)
    first = {} if force else {base.key: base for spec in specs for base in spec.starts_from()}
    runs = list({**first, **{spec.key: spec for spec in specs}}.values())
    with display(len(runs)) as watch:
        outcomes = run_all(runs, root_folder(out), jobs=jobs, tracker=tracker, force=force, watch=watch)
    asked = {spec.key for spec in specs}
    return [outcome for outcome in outcomes if outcome.spec.key in asked]


def _print_outcomes(outcomes: list[Any], as_json: bool) -> None:
    import json

    from elboard.bench.metrics.conventions import convention

    for outcome in outcomes:
        if as_json and outcome.record:
            print(json.dumps({"state": outcome.state, **asdict(outcome.record)}, sort_keys=True))
        elif outcome.state == "failed":
            print(f"failed: {outcome.spec.method} on {outcome.spec.task}, seed {outcome.spec.seed}: {outcome.message}", file=sys.stderr)
        else:
            record = outcome.record
            spec = outcome.spec
            print(f"{spec.method} on {spec.task}, seed {spec.seed}, {spec.budget} ({outcome.state}, key {record.key})")
            width = max(len(name) for name in record.metrics)
            for name, value in record.metrics.items():
                mark = " <- primary" if name == record.primary else ""
                print(f"  {name:{width}}  {value:.6g} {convention(name).unit}{mark}")
