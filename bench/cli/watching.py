"""``status``, ``logs``, ``cancel`` and ``sync``: sweeps seen from outside, by their plans, claims, curves and records."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench.cli.app import Json, OutThere, app
from elboard.bench.cli.streams import lost
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError, nearest, printable
from elboard.bench.metrics.conventions import better
from elboard.bench.record import Record
from elboard.bench.run import root_folder

SHOWN = 8  # running and failed runs listed
EVERY = 2.0  # seconds between looks of --watch


def find_plan(name: str, out: Path | None) -> Any:
    """The newest plan under the runs' folder of which ``name`` is the id, else the sweep's name, else the beginning of an id.

    Raises UserError with the nearest ones, or where the beginning is that of several sweeps.
    """
    from elboard.sweeps.plan import load, plans

    root = root_folder(out)
    known, name = plans(root), name.replace(":", "-")
    named = [id_ for id_ in known if id_.rpartition("-")[0] == name]
    begun = [id_ for id_ in known if id_.startswith(name)] if name else []
    of = [name] if name in known else named or begun
    sweeps = list(dict.fromkeys(id_.rpartition("-")[0] for id_ in of))
    if not of:
        raise UserError(f"no sweep {name!r} was started in {root}: {nearest(name, known)}")
    if len(sweeps) > 1:
        raise UserError(f"{name!r} is the beginning of {len(sweeps)} sweeps in {root}: {', '.join(sweeps[:SHOWN])}")
    return load(known[of[-1]])


def survey(plan: Any) -> dict[str, Any]:
    """What has become of a sweep's runs: counts, runs at work and failed, the best of each task, seconds left."""
    from elboard.sweeps import claims
    from elboard.sweeps.trials import curves
    from elboard.sweeps.work import verdict

    counts: Counter[str] = Counter()
    running, failed, records = [], [], []
    histories = plan.histories()
    for spec in [*plan.runs, *(spec for history in histories for spec in (*history.open(), *history.final()))]:
        folder, outcome = plan.known.folder(spec), verdict(spec, plan.known)
        if outcome is not None:
            counts["done" if outcome.state == "present" else "failed"] += 1
            (records.append(outcome.record) if outcome.state == "present" else failed.append(_named(spec) | {"why": outcome.message}))
            continue
        claim = claims.read(folder)
        if claim is not None and claims.alive(folder):
            counts["running"] += 1
            row = (curves(folder) or [{}])[-1]  # the last epoch, with the values that a display shows
            where = printable(f"{claim.get('host')}:{claim.get('pid')}")
            running.append(_named(spec) | {"where": where, "epochs": spec.config["train"]["epochs"], **row})
        else:
            counts["left"] += 1
    counts["done"] += sum(history.ended for history in histories)
    counts["left"] += sum(history.unknown for history in histories)
    found = {"sweep": plan.id, "runs": sum(counts.values()), **{state: counts[state] for state in ("done", "running", "failed", "left")}}
    return found | {
        "seconds_left": _seconds_left(plan, histories, records, counts),
        "best": _best(records),
        "searches": [str(history) for history in histories],
        "running_runs": running,
        "failed_runs": failed,
    }


def _named(spec: RunSpec) -> dict[str, Any]:
    return {"key": spec.key, "task": spec.task, "method": spec.method, "seed": spec.seed}


def _seconds_left(plan: Any, histories: list[Any], records: list[Record], counts: Counter[str]) -> float | None:
    """From the mean cost of finished runs of the same method on the same task, else of all, over the runs at work now."""
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        if "wall_s" in record.cost:
            costs[record.spec["task"], record.spec["method"]].append(record.cost["wall_s"])
    for history in histories:
        costs[history.search.task, history.search.method] += [trial.wall_s for trial in history.trials if trial.state != "running"]
    everything = [cost for of_pair in costs.values() for cost in of_pair]
    if not everything or not counts["running"]:
        return None
    done = {record.key for record in records}
    left = [*(spec for spec in plan.runs if spec.key not in done), *(spec for history in histories for spec in history.left())]
    todo = [costs.get((spec.task, spec.method)) or everything for spec in left]
    return round(sum(sum(known) / len(known) for known in todo) / counts["running"], 1)


def _best(records: list[Record]) -> dict[str, dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for record in records:
        value, task = record.metrics[record.primary], record.spec["task"]
        if task not in best or better(record.primary, value, best[task]["value"]):
            best[task] = {"metric": record.primary, "value": value, "method": record.spec["method"], "key": record.key}
    return best


@app.command()
def status(
    sweep: Annotated[str, typer.Argument(help="A sweep's name or id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds until it is over.")] = False,
    as_json: Json = False,
    out: OutThere = None,
) -> None:
    """How far a sweep is, wherever it runs."""
    plan = find_plan(sweep, out)
    while True:
        found = survey(plan)
        if watch and sys.stdout.isatty() and not as_json:
            print("\033[2J\033[H", end="")
        print(json.dumps(found) if as_json else _text(found), flush=True)
        if not watch or lost() or not (found["running"] or found["left"]):
            return
        time.sleep(EVERY)


def _text(found: dict[str, Any]) -> str:
    left = found["seconds_left"]
    eta = f", about {left / 60:.1f} min to go" if left is not None else ""
    counts = ", ".join(f"{found[state]} {state}" for state in ("done", "running", "failed", "left"))
    lines = [f"{found['sweep']}: {found['runs']} runs: {counts}{eta}"]
    lines += [f"  search of {text}" for text in found["searches"]]
    for run in found["running_runs"][:SHOWN]:
        epoch = f"epoch {run['epoch'] + 1}/{run['epochs']}" if "epoch" in run else "starting"
        loss = f" loss={run['train/loss']:.4g}" if "train/loss" in run else ""
        lines.append(f"  {run['key']} {run['method']} on {run['task']}, seed {run['seed']}: {epoch}{loss} ({run['where']})")
    for run in found["failed_runs"][:SHOWN]:
        lines.append(f"  {run['key']} {run['method']} on {run['task']}, seed {run['seed']}: FAILED {run['why']}")
    for task, best in sorted(found["best"].items()):
        lines.append(f"  best on {task}: {best['method']} with {best['metric']} {best['value']:.4g}")
    return "\n".join(lines)


@app.command()
def logs(
    key: Annotated[str, typer.Argument(help="A run's key, or its beginning.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on while the run goes on.")] = False,
    out: OutThere = None,
) -> None:
    """The log of a run."""
    from elboard.bench.runs import folder_named
    from elboard.sweeps import claims

    folder = folder_named(root_folder(out), key)
    with open(folder / "log.txt", encoding="utf-8", errors="replace") as file:
        while True:
            print(file.read(), end="", flush=True)
            if not follow or lost() or not claims.alive(folder):
                print(file.read(), end="", flush=True)
                return
            time.sleep(0.5)


@app.command()
def cancel(sweep: Annotated[str, typer.Argument(help="A sweep's name or id.")], out: OutThere = None) -> None:
    """Cancel the Slurm jobs of a sweep, and no others."""
    from elboard.sweeps.engines.slurm import cancel as cancel_jobs

    plan = find_plan(sweep, out)
    ids = cancel_jobs(plan.id)
    print(f"{plan.id}: cancelled {len(ids)} jobs{': ' + ', '.join(ids[:10]) if ids else ''}")


@app.command()
def sync(out: OutThere = None) -> int:
    """Upload offline W&B runs with wandb's own tool."""
    found = sorted(root_folder(out).glob("*/wandb/offline-run-*"))  # of a run by time, and the last one holds what those before hold
    folders = {folder.parent: str(folder) for folder in found}
    if not folders:
        print(f"no offline W&B runs in {root_folder(out)}")
        return 0
    return subprocess.run([sys.executable, "-m", "wandb", "sync", *folders.values()]).returncode
