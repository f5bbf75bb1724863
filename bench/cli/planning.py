"""``sweep --dry-run``: the runs, what is done of them, and what the rest will cost by the records of like runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from elboard.bench.cli.printing import print_table
from elboard.bench.config import RunSpec
from elboard.bench.record import Record
from elboard.bench.runs import Runs


def print_plan(sweep: Any, root: Path, how: dict[str, Any]) -> None:
    """Print the plan of ``sweep``; runs nothing."""
    from elboard.results.store import load

    prices = Prices(load(root, shipped=True))
    todo: list[tuple[float | None, float]] = []  # seconds, GPUs
    if sweep.runs:
        todo += _print_runs(sweep, root, prices)
    if sweep.searches:
        todo += _print_searches(sweep, root, prices)
    _print_estimate(todo, how)


def _print_runs(sweep: Any, root: Path, prices: Prices) -> list[tuple[float | None, float]]:
    from elboard.sweeps.work import Resources, verdict

    known, states = Runs(root), {"present": "done", "failed": "failed"}
    rows, todo = [], []
    roles = {base.key: f" ({role} of {spec.method})" for spec in sweep.runs for role, of in spec.bases.items() for base in of}
    for spec in sweep.runs:
        outcome, seconds = verdict(spec, known), prices.of(spec)
        state = states[outcome.state] if outcome else "to run"
        if state != "done":
            todo.append((seconds, sweep.resources.get(spec.key, Resources()).gpus))
        estimate = "" if state == "done" else "?" if seconds is None else f"{seconds:.0f} s"
        rows.append([spec.key, spec.task, spec.method + roles.get(spec.key, ""), spec.budget, str(spec.seed), state, estimate])
    print_table(["key", "task", "method", "budget", "seed", "state", "estimate"], rows)
    counts = Counter(row[5] for row in rows)
    print(f"{len(rows)} runs: {counts['done']} done, {counts['failed']} failed before, {counts['to run']} to run")
    return todo


def _print_searches(sweep: Any, root: Path, prices: Prices) -> list[tuple[float | None, float]]:
    from elboard.sweeps.frontier import History
    from elboard.sweeps.work import Resources, needs

    rows, todo = [], []
    for history in [History(search, Runs(root)).look() for search in sweep.searches]:
        search = history.search
        counts = [str(history.count(state)) for state in ("done", "pruned", "failed", "running")]
        to_come = str(search.trials - len(history.trials))
        rows.append([search.id, search.task, search.method, search.budget, search.sampler, *counts, to_come, history.choice() or "-"])
        needed = needs(search.resources, history.left())
        todo += [(prices.of(spec), needed.get(spec.key, Resources()).gpus) for spec in history.left()]
    print_table(
        ["search", "task", "method", "budget", "sampler", "done", "pruned", "failed", "open", "to come", "best by validation"], rows
    )
    final = sum(len(search.seeds) for search in sweep.searches)
    print(f"{len(rows)} searches with {sum(search.trials for search in sweep.searches)} trials, then {final} runs with the best options")
    return todo


def _print_estimate(todo: list[tuple[float | None, float]], how: dict[str, Any]) -> None:
    """What the runs of ``todo`` (seconds or None, GPUs) cost."""
    known = [(seconds, gpus) for seconds, gpus in todo if seconds is not None]
    total = sum(seconds for seconds, _ in known)
    gpu = sum(seconds * gpus for seconds, gpus in known) / 3600
    workers, packing = _packing(len(todo), how)
    spread = f", about {total / workers / 60:.1f} min on {workers} workers" if workers and known else ""
    unknown = f" ({len(todo) - len(known)} runs of unknown cost not counted)" if len(known) < len(todo) else ""
    print(f"estimate: {total / 3600:.2f} hours of work, {gpu:.2f} GPU-hours{spread}{unknown}")
    print(packing)


def _packing(runs: int, how: dict[str, Any]) -> tuple[int | None, str]:
    """How many run side by side, where that is known, and in words."""
    if how["engine"] == "slurm":
        from elboard.sweeps.engines.slurm import profile

        asked = profile(how["profile"])
        jobs = min(how["max_jobs"] or asked.max_jobs, math.ceil(runs / max(1, asked.cpus)))
        said = f"packing: {jobs} jobs of {asked.cpus} cores and {asked.gpus} GPUs, {asked.cpus} one-core runs at a time each"
        return max(1, jobs * asked.cpus), said
    if how["engine"] != "local":
        return how["jobs"], f"packing: as {how['engine']} places them"
    from elboard.sweeps.capacity import cores, gpus

    workers = how["jobs"] or cores()
    cards = f" and {len(gpus())} GPUs, one a run where the sweep does not say otherwise" if gpus() else ""
    return workers, f"packing: {workers} cores{cards}"


class Prices:
    """Seconds of finished runs, looked up from the most alike to the least: the same configuration; the same method on the task for as many
    epochs; the same method at the budget, on any task."""

    def __init__(self, records: list[Record]):
        self.alike: dict[tuple, list[float]] = defaultdict(list)
        for record in records:
            if record.status == "done" and record.cost.get("wall_s"):
                for name in self._names(record.run()):
                    self.alike[name].append(record.cost["wall_s"])

    @staticmethod
    def _names(spec: RunSpec) -> list[tuple]:
        same = (spec.task, spec.method, spec.budget, spec.config["train"]["epochs"])
        return [(*same, str(sorted(spec.config["method"].items()))), same, (spec.method, spec.budget)]

    def of(self, spec: RunSpec) -> float | None:
        """Mean seconds of the nearest kind of finished runs; None if there are none."""
        for name in self._names(spec):
            if self.alike.get(name):
                return sum(self.alike[name]) / len(self.alike[name])
        return None
