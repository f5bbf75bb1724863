"""``run`` and ``sweep``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.config import RunSpec, parse_overrides, resolve
from bench.errors import UserError, nearest

TRACKERS = ("none", "csv", "wandb")


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
    from sweeps.plan import parse_seeds

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
    name: str, options: list[str], jobs: int | None, dry: bool, tracker: str, out: Path | None, force: bool, paths: tuple[Path, ...]
) -> int:
    """All runs of a sweep, then its boards. Returns the exit code."""
    from bench.cli.boards import print_tables
    from bench.run import root_folder
    from results.board.build import boards
    from sweeps.plan import expand, find

    plan = expand(find(name), parse_overrides(options), tuple(str(path) for path in paths))
    if dry:
        _print_plan(list(plan.runs), root_folder(out))
        return 0
    outcomes = _run(list(plan.runs), jobs, tracker, out, force, plan.resources)
    root = root_folder(out)
    print_tables(boards([outcome.record for outcome in outcomes if outcome.record], paths=paths))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        print(f"failed: {outcome.spec.method} on {outcome.spec.task}, seed {outcome.spec.seed}: {outcome.message}", file=sys.stderr)
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "present", "failed")}
    print(f"{plan.name}: {counts['done']} runs done now, {counts['present']} done before, {counts['failed']} failed")
    print(f"records: {root / '<key>' / 'attempts'}   pictures: {root / '<key>' / 'pictures'}")
    for outcome in outcomes:
        for picture in outcome.record.files.get("pictures", []) if outcome.record else []:
            print(f"  {outcome.spec.method} on {outcome.spec.task}: {root / outcome.spec.key / picture}")
    return int(bool(failed))


def _run(specs: list[RunSpec], jobs: int | None, tracker: str, out: Path | None, force: bool, resources: dict | None = None) -> list[Any]:
    from bench.cli.live import display
    from bench.run import root_folder
    from sweeps.engines.local import run_all

    if tracker not in TRACKERS:
        raise UserError(f"no tracker {tracker!r}: {nearest(tracker, TRACKERS)}")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least 1")
    with display(len(specs)) as watch:
        return run_all(specs, root_folder(out), jobs=jobs, tracker=tracker, force=force, watch=watch, resources=resources)


def _print_outcomes(outcomes: list[Any], as_json: bool) -> None:
    import json

    from bench.metrics.conventions import convention

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


def _print_plan(runs: list[RunSpec], root: Path) -> None:
    from bench.cli.listing import print_table
    from bench.run import finished

    rows = [[s.key, s.task, s.method, s.budget, str(s.seed), "done" if finished(s, root) else "to run"] for s in runs]
    print_table(["key", "task", "method", "budget", "seed", "state"], rows)
    print(f"{len(rows)} runs, {sum(row[-1] == 'done' for row in rows)} done")
