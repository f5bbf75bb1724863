"""A sweep on a shared folder, for engines whose workers come and go: its plan as a file, and the process that works through it.

``<root>/sweeps/<id>/plan.json`` holds the runs and searches, what runs need, and which old failures do not count. ``python -m
elboard.sweeps.queue PLAN`` is the worker: it takes runs by claims and executes them on the cores and GPUs of its allocation until nothing
is left or its time is nearly over.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.record import attempts
from elboard.sweeps.frontier import Frontier, History
from elboard.sweeps.plan import Sweep
from elboard.sweeps.search import Search
from elboard.sweeps.work import Resources, processes, verdict

LEFT = 1  # exit code of a worker that leaves runs behind: some failed, or others hold them
PREEMPTED = 75


@dataclass(frozen=True)
class Plan:
    """What a worker must know. ``id`` names the sweep on the scheduler; ``forgiven`` are old failed attempts, by key."""

    id: str
    name: str
    root: Path
    tracker: str
    runs: tuple[RunSpec, ...]
    resources: dict[str, Resources]
    forgiven: dict[str, list[str]]
    searches: tuple[Search, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / "sweeps" / self.id

    def histories(self) -> list[History]:
        """What has become of the searches."""
        return [History(search, self.root, self.forgiven).look() for search in self.searches]

    def frontier(self, searches: Sequence[Search] | None = None) -> Frontier:
        """The runs of the searches (all, or some) as they become known; adds what they need to ``resources``."""
        return Frontier(self.searches if searches is None else searches, self.root, self.resources, self.forgiven)


def plan_of(sweep: Sweep, root: Path, tracker: str = "none") -> Plan:
    """The plan of ``sweep``: the same runs under ``root`` give the same id. What has failed until now is forgiven."""
    keys = "".join(sorted([*(spec.key for spec in sweep.runs), *(f"{s.id} {s.trials} {s.seeds}" for s in sweep.searches)]))
    forgiven = {}
    for search in sweep.searches:
        forgiven |= History(search, root).look().forgivable()
    for spec in sweep.runs:
        failed = [record.attempt for record in attempts(root / spec.key) if record.status == "failed"]
        if failed:
            forgiven[spec.key] = failed
    name = f"{sweep.name}-{hashlib.sha256(keys.encode()).hexdigest()[:8]}"
    return Plan(name, sweep.name, root.resolve(), tracker, sweep.runs, sweep.resources, forgiven, sweep.searches)


def save(plan: Plan) -> Path:
    """Write the plan into its folder and return the file."""
    tree = {
        "id": plan.id,
        "name": plan.name,
        "root": str(plan.root),
        "tracker": plan.tracker,
        "runs": [spec.to_dict() for spec in plan.runs],
        "resources": {key: asdict(need) for key, need in plan.resources.items()},
        "forgiven": plan.forgiven,
        "searches": [search.to_dict() for search in plan.searches],
    }
    file = plan.folder / "plan.json"
    records.write_text_atomically(file, json.dumps(tree))
    return file


def load(file: Path) -> Plan:
    """Raises UserError where ``file`` is no plan."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        runs = tuple(RunSpec.from_dict(words) for words in tree["runs"])
        needs = {key: Resources(**words) for key, words in tree["resources"].items()}
        searches = tuple(Search.from_dict(words) for words in tree["searches"])
        return Plan(tree["id"], tree["name"], Path(tree["root"]), tree["tracker"], runs, needs, tree["forgiven"], searches)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no plan of a sweep") from None


def plans(root: Path) -> dict[str, Path]:
    """The plan files under ``root`` by id, the newest last."""
    files = sorted((root / "sweeps").glob("*/plan.json"), key=lambda file: file.stat().st_mtime)
    return {file.parent.name: file for file in files}


def shape(spec: RunSpec) -> tuple[int, int]:
    """(nodes, processes a node) of a run: runs of one shape can share an allocation."""
    nodes = spec.config["trainer"]["num_nodes"]
    return (nodes, processes(spec) // nodes) if nodes > 1 else (1, 1)


def unfinished(plan: Plan) -> list[RunSpec]:
    """The runs that are neither done nor failed for good, of searches those that could go on now."""
    own = [spec for spec in plan.runs if verdict(spec, plan.root, plan.forgiven) is None]
    return own + [spec for history in plan.histories() for spec in history.unfinished()]


# --- the worker --------------------------------------------------------------------------------------


def work(
    plan: Plan, runs: Sequence[RunSpec], cpus: int, deadline: float | None, start: int = 0, searches: Sequence[Search] | None = None
) -> int:
    """Take ``runs`` of ``plan``, and those of ``searches`` (all of the plan's if None), by claims, beginning at a place of its own so that
    many workers do not ask for the same one.

    Returns 0 if all are done, 1 if some failed, 75 if it was asked to stop before all was done.
    """
    from elboard.sweeps.engines.local import run_all

    first = start % max(1, len(runs))
    order = [*runs[first:], *runs[:first]]
    frontier = plan.frontier(searches)

    def watch(spec: RunSpec, event: Mapping) -> None:
        if event["event"] == "end":
            end = event["outcome"]
            print(f"{records.now()} {spec.key} {spec.method} on {spec.task}, seed {spec.seed}: {end.state} {end.message}", flush=True)

    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGUSR1, _interrupt)
    try:
        outcomes = run_all(
            order,
            plan.root,
            jobs=cpus,
            tracker=plan.tracker,
            watch=watch,
            resources=plan.resources,
            deadline=deadline or float("inf"),
            forgiven=plan.forgiven,
            extend=frontier,
        )
    except KeyboardInterrupt:
        return PREEMPTED
    states = {outcome.state for outcome in outcomes if "trial" not in outcome.spec.origin}
    if {spec.key for spec in runs} - {outcome.spec.key for outcome in outcomes} or frontier.histories or "preempted" in states:
        return PREEMPTED
    return LEFT if "failed" in states or frontier.failed else 0


def _interrupt(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1):  # Slurm and the batch script may both pass one on
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(file: str, *words: str) -> int:
    """``PLAN [key=value ...]`` with cpus, nodes and tasks (the shape of the runs to take), margin (seconds before the allocation's end)."""
    options = dict(word.split("=", 1) for word in words)
    plan = load(Path(file))
    wanted = (int(options.get("nodes", 1)), int(options.get("tasks", 1)))
    runs = [spec for spec in plan.runs if shape(spec) == wanted]
    searches = [search for search in plan.searches if shape(search.template) == wanted]
    margin = float(options.get("margin", 120))
    end = _end_of_allocation()
    place = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    code = work(plan, runs, int(options.get("cpus", 1)), end - margin if end else None, place, searches)
    print(f"{records.now()} worker leaves with {code}", flush=True)
    return code


def _end_of_allocation() -> float | None:
    """``time.time()`` at which Slurm will end this job; None elsewhere or where it has no limit."""
    from elboard.sweeps.engines.slurm import seconds_left

    left = seconds_left(os.environ.get("SLURM_JOB_ID", ""))
    return None if left is None else time.time() + left


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
