"""The worker of a plan: ``python -m elboard.sweeps.queue PLAN`` takes runs by claims and executes them on the cores and GPUs of its
allocation until nothing is left or its time is nearly over."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.record import now
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.engines.slurm import seconds_left
from elboard.sweeps.plan import Plan, load, shape
from elboard.sweeps.search import Search
from elboard.sweeps.work import EXIT_PREEMPTED

LEFT = 1  # exit code of a worker that leaves runs behind: some failed, or others hold them


def work(
    plan: Plan, runs: Sequence[RunSpec], cpus: int, deadline: float | None, start: int = 0, searches: Sequence[Search] | None = None
) -> int:
    """Take ``runs`` of ``plan``, and those of ``searches`` (all of the plan's if None), by claims, beginning at a place of its own so that
    many workers do not ask for the same one.

    Returns 0 if all are done, 1 if some failed, 75 if it was asked to stop before all was done.
    """
    first = start % max(1, len(runs))
    order = [*runs[first:], *runs[:first]]
    frontier = plan.frontier(searches)

    def watch(spec: RunSpec, event: Mapping) -> None:
        if event["event"] == "end":
            end = event["outcome"]
            print(f"{now()} {spec.key} {spec.method} on {spec.task}, seed {spec.seed}: {end.state} {end.message}", flush=True)

    stopping.hear(_interrupt, signal.SIGUSR1, *stopping.END)
    try:
        outcomes = run_all(order, jobs=cpus, watch=watch, deadline=deadline or float("inf"), extend=frontier, **plan.common)
    except KeyboardInterrupt:
        return EXIT_PREEMPTED
    states = {outcome.state for outcome in outcomes if "trial" not in outcome.spec.origin}
    if {spec.key for spec in runs} - {outcome.spec.key for outcome in outcomes} or frontier.histories or "preempted" in states:
        return EXIT_PREEMPTED
    return LEFT if "failed" in states or frontier.failed else 0


def _interrupt(*_: object) -> None:
    for number in (signal.SIGUSR1, *stopping.END):  # Slurm and the batch script may both pass one on
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(file: str, *words: str) -> int:
    """``PLAN [key=value ...]`` with cpus, nodes and tasks (the shape of the runs to take), margin (seconds before the allocation's end)."""
    options = dict(word.split("=", 1) for word in words)
    plan = load(Path(file))
    wanted = (int(options.get("nodes", 1)), int(options.get("tasks", 1)))
    runs = [spec for spec in plan.runs if shape(spec) == wanted]
    searches = [search for search in plan.searches if shape(search.template) == wanted]
    left = seconds_left(os.environ.get("SLURM_JOB_ID", ""))
    deadline = None if left is None else time.time() + left - float(options.get("margin", 120))
    place = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    code = work(plan, runs, int(options.get("cpus", 1)), deadline, place, searches)
    print(f"{now()} worker leaves with {code}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
