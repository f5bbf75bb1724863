"""``sweep --dry-run``: the runs, what is done of them, and what the rest will cost by the records of like runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from elboard.bench.cli.printing import print_table
from elboard.bench.config import RunSpec
from elboard.bench.record import Record
from elboard.bench.runs import Runs


def print_plan(sweep: Any, root: Path, how: dict[str, Any]) -> None:
    """Print the plan of ``sweep``; runs nothing."""
    from elboard.results.store import load

    prices = Prices(load(root, shipped=True))
    todo: list[tuple[Price, float]] = []  # and GPUs
    if sweep.runs:
        todo += _print_runs(sweep, root, prices)
    if sweep.searches:
        todo += _print_searches(sweep, root, prices)
    _print_estimate(todo, how)


def _print_runs(sweep: Any, root: Path, prices: Prices) -> list[tuple[Price, float]]:
    from elboard.sweeps.work import Resources, verdict

    known, states = Runs(root), {"present": "done", "failed": "failed"}
    rows, todo = [], []
    roles = {base.key: f" ({role} of {spec.method})" for spec in sweep.runs for role, of in spec.bases.items() for base in of}
    for spec in sweep.runs:
        outcome, price = verdict(spec, known), prices.of(spec)
        state = states[outcome.state] if outcome else "to run"
        if state != "done":
            todo.append((price, sweep.resources.get(spec.key, Resources()).gpus))
        estimate = "" if state == "done" else str(price)
        rows.append([spec.key, spec.task, spec.method + roles.get(spec.key, ""), spec.budget, str(spec.seed), state, estimate])
    print_table(["key", "task", "method", "budget", "seed", "state", "estimate"], rows)
    counts = Counter(row[5] for row in rows)
    print(f"{len(rows)} runs: {counts['done']} done, {counts['failed']} failed before, {counts['to run']} to run")
    return todo


def _print_searches(sweep: Any, root: Path, prices: Prices) -> list[tuple[Price, float]]:
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


def _print_estimate(todo: list[tuple[Price, float]], how: dict[str, Any]) -> None:
    """What the runs of ``todo``, each with the GPUs that it asks for, cost; what is not known is said."""
    from elboard.results.forecast import ASSUMED, hours

    seconds = [price.seconds for price, _ in todo]
    gpu = [None if price.seconds is None else price.seconds * gpus for price, gpus in todo if gpus]
    workers, packing = _packing(len(todo), how)
    known = sum(one for one in seconds if one is not None)
    spread = f", about {known / workers / 60:.1f} min on {workers} workers" if workers and known else ""
    on_gpus = f"; {hours(gpu, 'GPU-hours')}" if gpu else ""
    print(f"estimate: {hours(seconds, 'hours of work')}{spread}{on_gpus}")
    if any(price.extrapolated for price, _ in todo):
        print(f"~ by extrapolation from lite: {ASSUMED}")
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


class Price(NamedTuple):
    """Seconds of a run, None where no finished run says anything of them; ``extrapolated`` from another budget, or of a like run."""

    seconds: float | None
    extrapolated: bool = False

    def __str__(self) -> str:
        return "unknown" if self.seconds is None else f"{'~' if self.extrapolated else ''}{self.seconds:.0f} s"


class Prices:
    """Seconds of finished runs, looked up from the most alike to the least: the same configuration; the same method on the task for as many
    epochs; at budget full by extrapolation from lite, the same configuration or the method; the same method at the budget, on any task."""

    def __init__(self, records: list[Record]):
        self.alike: dict[tuple, list[float]] = defaultdict(list)
        self.lite: dict[tuple, list[tuple[dict[str, float], RunSpec]]] = defaultdict(list)
        for record in records:
            if record.status == "done" and record.cost.get("wall_s"):
                spec = record.run()
                for name in self._names(spec):
                    self.alike[name].append(record.cost["wall_s"])
                for name in self._pairs(spec) if spec.budget == "lite" else ():
                    self.lite[name].append((record.cost, spec))

    @staticmethod
    def _pairs(spec: RunSpec) -> list[tuple]:
        return [(spec.task, spec.method, str(sorted(spec.config["method"].items()))), (spec.task, spec.method)]

    @staticmethod
    def _names(spec: RunSpec) -> list[tuple]:
        same = (spec.task, spec.method, spec.budget, spec.config["train"]["epochs"])
        return [(*same, str(sorted(spec.config["method"].items()))), same, (spec.method, spec.budget)]

    def of(self, spec: RunSpec) -> Price:
        """Of the nearest kind of finished runs the mean."""
        *near, far = self._names(spec)
        found = next((self.alike[name] for name in near if self.alike.get(name)), [])
        if found:
            return Price(_mean(found))
        longer = self._extrapolated(spec) if spec.budget == "full" else []
        if longer:
            return Price(_mean(longer), extrapolated=True)
        return Price(_mean(self.alike[far]) if self.alike.get(far) else None)

    def _extrapolated(self, spec: RunSpec) -> list[float]:
        from elboard.bench.registry import find
        from elboard.results.forecast import growth

        card = find("task", spec.task, tuple(map(Path, spec.paths))).card
        runs = next((self.lite[name] for name in self._pairs(spec) if self.lite.get(name)), [])
        factors = [(cost["wall_s"], growth(cost, lite, spec, card)) for cost, lite in runs]
        return [wall * factor for wall, factor in factors if factor is not None]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
