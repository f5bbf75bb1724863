"""One run of a sweep, the same under every engine: claimed, executed, retried boundedly (:meth:`elboard.bench.runs.Runs.over`).

``python -m elboard.sweeps.work SPEC.json ROOT TRACKER`` is one in an interpreter of its own, for runs of several processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elboard.bench import record as records
from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError, printable
from elboard.bench.legacy import keys_of
from elboard.bench.record import Record
from elboard.bench.run import execute, rank_of
from elboard.bench.runs import Runs, begin_anew
from elboard.sweeps import claims, trials

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later
WAIT = 1.0  # seconds between looks at a run that another process has claimed


@dataclass
class Outcome:
    """How a run ended.

    ``state``: "done" now, "present" from before, "failed", "pruned" (a trial that its search gave up), "preempted" (stopped, with a
    checkpoint), or "claimed" (by another process). ``record`` may be that of a run that it starts from and that failed.
    """

    spec: RunSpec
    state: str
    message: str = ""
    record: Record | None = field(default=None, repr=False)


class Outcomes(dict[str, Outcome]):
    """How runs ended, by key. They end in any order, and are given back in the order in which their runs were named.

    What the records of ``runs`` tell already counts unless ``force``; the others are ``todo``. ``watch`` and ``extend`` are as in
    :func:`elboard.sweeps.engines.local.run_all`.
    """

    def __init__(self, specs: Sequence[RunSpec], runs: Runs, force: bool, watch: Watch, extend: Extend):
        super().__init__()
        self.runs, self.force, self.watch, self._extend = runs, force, watch, extend
        self._order = dict.fromkeys(spec.key for spec in specs)
        for outcome in map(self.known, specs):
            if outcome is not None:
                self.add(outcome)
        self.todo = [spec for spec in specs if spec.key not in self]

    def known(self, spec: RunSpec) -> Outcome | None:
        """What the records say of ``spec`` by now."""
        return None if self.force else verdict(spec, self.runs)

    def add(self, outcome: Outcome) -> None:
        self[outcome.spec.key] = outcome
        self.watch(outcome.spec, {"event": "end", "outcome": outcome})

    def more(self) -> list[RunSpec] | None:
        """The runs that can go on now, given the outcomes so far; None where no more will be named."""
        found = self._extend(self)
        self._order.update(dict.fromkeys(spec.key for spec in found or ()))
        return found

    def in_order(self) -> list[Outcome]:
        return [self[key] for key in self._order if key in self]


Watch = Callable[[RunSpec, dict], None]
Extend = Callable[[Mapping[str, Outcome]], list[RunSpec] | None]


@dataclass(frozen=True)
class Resources:
    """What a run needs. ``gpus`` may be a fraction; ``memory`` in GiB and ``time`` in seconds are limits, 0 for none."""

    cpus: int = 1
    gpus: float = 0.0
    memory: float = 0.0
    time: float = 0.0


Words = Mapping[str, Mapping[str, float]]  # what a sweep file says of resources, by method, task or "default"


def needs(words: Words, specs: Iterable[RunSpec]) -> dict[str, Resources]:
    """What each of ``specs`` needs, by key, for those that ``words`` say something about; a method's word counts before a task's."""
    said = {spec.key: {**words.get("default", {}), **words.get(spec.task, {}), **words.get(spec.method, {})} for spec in specs}
    return {key: Resources(**found) for key, found in said.items() if found}


def outcome_of(spec: RunSpec, record: Record, done: str = "done") -> Outcome:
    """The outcome that a record tells of: ``done``, or failed by its own failure or that of a run that it starts from."""
    if record.status == "done":
        return Outcome(spec, done, record=record)
    why = printable(f"{record.failure['class']}: {record.failure['message']}")
    if record.key not in (spec.key, *keys_of(spec)):
        base = record.run()
        why = f"infra: the run {base.key} that it starts from ({base.method} on {base.task}, seed {base.seed}) failed: {why}"
    return Outcome(spec, "failed", why, record)


def verdict(spec: RunSpec, runs: Runs) -> Outcome | None:
    """What the records say: an outcome "present" or "failed", or None where the run is to be tried (again)."""
    record = runs.over(spec)
    return None if record is None else outcome_of(spec, record, "present")


def run_one(
    spec: RunSpec, root: Path, tracker: str = "none", report: Callable[[dict], None] = lambda event: None, force: bool = False
) -> Outcome:
    """Claim ``spec``, execute it, release it; "claimed" where a living process has it. A run that it starts from comes first.

    The claim of a process that died is taken over, and the death becomes a failed record, so that a run that kills its process is not tried
    for ever.
    """
    runs = Runs(root)
    folder = runs.folder(spec)
    for base in spec.starts_from():
        found = ensure(base, root, report)
        if found.state in ("preempted", "failed"):
            said = Outcome(spec, found.state, f"the run {base.key} that it starts from: {found.message}")
            return said if found.record is None else outcome_of(spec, found.record)
    if rank_of(spec) > 0:  # the first process holds the claim for all
        return _execute(spec, root, tracker, report)
    try:
        claim = claims.take(folder, owner=tracker)
    except OSError as error:
        return unwritable(spec, root, error)
    if claim is None:
        return Outcome(spec, "claimed")
    with claims.heartbeat(claim):
        if claim.dead is not None:
            write_death(spec, root, f"process {claim.dead.get('pid')} on {claim.dead.get('host')} died")
        if force:
            begin_anew(folder)
        before = None if force else runs.done(spec)
        if before is not None:
            return outcome_of(spec, before, "present")
        pruned = trials.given_up(spec, root)
        if pruned:
            return Outcome(spec, "pruned", pruned)
        try:
            if processes(spec) > 1 and not launched():
                return _together(spec, root, tracker, trials.judged(spec, root, report))
            return _execute(spec, root, tracker, report if processes(spec) > 1 else trials.judged(spec, root, report))
        except stopping.Preempted:
            return Outcome(spec, "preempted", "stopped; goes on from its checkpoint")
        except stopping.Pruned as stop:
            begin_anew(folder)
            return Outcome(spec, "pruned", str(stop))


def run_apart(
    spec: RunSpec, root: Path, tracker: str = "none", report: Callable[[dict], None] = lambda event: None, force: bool = False
) -> tuple[Outcome, bool]:
    """:func:`run_one`, and whether another run may follow in this process: not after code from outside the package that left it changed.

    What can be is put back.
    """
    if not any(one.code for one in (spec, *spec.starts_from())):
        return run_one(spec, root, tracker, report, force), True
    from elboard.bench.state import State

    before = State()
    try:
        outcome = run_one(spec, root, tracker, report, force)
        return outcome, not before.changed()
    finally:
        before.restore()


def ensure(spec: RunSpec, root: Path, report: Callable[[dict], None] = lambda event: None) -> Outcome:
    """:func:`run_one` for a run whose weights are wanted, waiting while another process runs it. A failure is tried again."""
    runs = Runs(root)
    while True:
        record = runs.trained(spec)
        if record is not None:
            return outcome_of(spec, record, "present")
        outcome = run_one(spec, root, "none", report, force=runs.done(spec) is not None)
        if outcome.state != "claimed" or stopping.requested():
            return outcome
        time.sleep(WAIT)


def unwritable(spec: RunSpec, root: Path, error: OSError) -> Outcome:
    """The outcome of a run whose folder cannot be written: full, read-only, gone."""
    reason, folder = error.strerror or error, Runs(root).folder(spec)
    return Outcome(spec, "failed", f"infra: {folder}: cannot be written ({reason}); free it or choose another folder with --out")


def _execute(spec: RunSpec, root: Path, tracker: str, report: Callable[[dict], None]) -> Outcome:
    try:
        record = execute(spec, root, tracker, report)
    except UserError as error:
        return Outcome(spec, "failed", printable(str(error)))
    except OSError as error:  # not even the record could be written
        return unwritable(spec, root, error)
    return outcome_of(spec, record)


def write_death(spec: RunSpec, root: Path, message: str, kind: str = "killed") -> Record:
    """The record that a dead process could not write."""
    folder = Runs(root).folder(spec)
    failure = {"class": kind, "message": message, "log": _tail(folder / "log.txt")}
    return records.leave(spec, folder, "failed", failure=failure, ended=records.now(), notes=spec.origin)


def _tail(file: Path, lines: int = 20) -> str:
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


# --- runs of several processes -------------------------------------------------------------------------


def processes(spec: RunSpec) -> int:
    """Processes that train together, over all nodes; 1 for "auto", which is Lightning's to resolve."""
    trainer = spec.config["trainer"]
    devices = trainer["devices"]
    return trainer["num_nodes"] * (int(devices) if devices.isdigit() else 1)


def launched() -> bool:
    """Whether torchrun, srun or Lightning started this process as one of several that train together."""
    return "RANK" in os.environ or "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _together(spec: RunSpec, root: Path, tracker: str, report: Callable[[dict], None]) -> Outcome:
    """Run ``spec`` in interpreters of its own: Lightning starts the others itself, or srun starts them all over several nodes."""
    trainer, runs = spec.config["trainer"], Runs(root)
    before = {record.attempt for record in runs.attempts(spec)}
    file = runs.folder(spec) / "spec.json"
    records.write_text_atomically(file, json.dumps(spec.to_dict()))
    command = [sys.executable, "-m", "elboard.sweeps.work", str(file), str(root), tracker]
    if os.environ.get("SLURM_JOB_ID") and trainer["num_nodes"] > 1:
        command = ["srun", f"--nodes={trainer['num_nodes']}", f"--ntasks-per-node={trainer['devices']}", "--kill-on-bad-exit=1", *command]
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    asked, seen, pruned = False, 0, None
    while process.poll() is None:
        try:
            seen = follow(spec, root, seen, report)
        except stopping.Pruned as stop:  # all its processes are to leave, as if preempted
            pruned, report = stop, lambda event: None
        if (stopping.requested() or pruned) and not asked:
            asked = True  # of all its processes; srun passes it on to its tasks
            process.send_signal(signal.SIGUSR1) if command[0] == "srun" else os.killpg(process.pid, signal.SIGUSR1)
        time.sleep(0.1)
    if pruned:
        raise pruned
    new = records.effective(record for record in runs.attempts(spec) if record.attempt not in before)
    if new is not None:
        return outcome_of(spec, new)
    if process.returncode == EXIT_PREEMPTED or asked:
        raise stopping.Preempted
    return outcome_of(spec, write_death(spec, root, f"its processes ended with exit code {process.returncode}"))


def follow(spec: RunSpec, root: Path, seen: int, report: Callable[[dict], None]) -> int:
    """Report the epochs that other processes have written since the first ``seen``, and return how many there are."""
    rows = trials.curves(Runs(root).folder(spec), seen)
    for row in rows:
        report({"event": "epoch", "epochs": spec.config["train"]["epochs"], **row})
    return seen + len(rows)


def main(file: str, root: str, tracker: str) -> int:
    """Execute the run. Returns 0 if it is done, 75 if it was asked to stop and saved a checkpoint, else 1."""
    stopping.listen(signal.SIGUSR1, *stopping.END)
    spec = RunSpec.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))
    try:
        return 0 if execute(spec, Path(root), tracker).status == "done" else 1
    except stopping.Preempted:
        return EXIT_PREEMPTED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
