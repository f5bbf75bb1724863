"""One run of a sweep, the same under every engine: claimed, executed, retried boundedly.

Records are the truth. Whether a run is done, failed for good or to be tried (again) is read from the records in its folder; what an engine
or a scheduler believes changes nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from elboard.bench import record as records
from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.record import Record, attempts
from elboard.bench.run import execute, rank_of
from elboard.sweeps import claims, trials

RETRIABLE = ("oom", "timeout", "killed", "infra")
RETRIES = 2
WAIT = 1.0  # seconds between looks at a run that another process has claimed


@dataclass
class Outcome:
    """How a run ended.

    ``state``: "done" now, "present" from before, "failed", "pruned" (a trial that its search gave up), "preempted" (stopped, with a
    checkpoint), or "claimed" (by another process).
    """

    spec: RunSpec
    state: str
    message: str = ""
    record: Record | None = field(default=None, repr=False)


class Outcomes(dict[str, Outcome]):
    """How runs ended, by key. They end in any order, and are given back in the order in which their runs were named."""

    def __init__(self, runs: Iterable[RunSpec]):
        super().__init__()
        self._order = dict.fromkeys(spec.key for spec in runs)

    def naming(self, extend: Callable[[Mapping[str, Outcome]], list[RunSpec] | None]) -> list[RunSpec] | None:
        """The runs that ``extend`` names, given the outcomes so far."""
        found = extend(self)
        self._order.update(dict.fromkeys(spec.key for spec in found or ()))
        return found

    def in_order(self) -> list[Outcome]:
        return [self[key] for key in self._order if key in self]


@dataclass(frozen=True)
class Resources:
    """What a run needs. ``gpus`` may be a fraction; ``memory`` in GiB and ``time`` in seconds are limits, 0 for none."""

    cpus: int = 1
    gpus: float = 0.0
    memory: float = 0.0
    time: float = 0.0


def verdict(spec: RunSpec, root: Path, forgiven: Mapping[str, list[str]] | None = None) -> Outcome | None:
    """What the records say: an outcome "present" or "failed", or None where the run is to be tried (again).

    Args:
        forgiven: attempts by key that do not count: failures from before the sweep was asked for, which the user may have mended.
    """
    found = attempts(root / spec.key)
    done = [record for record in found if record.status == "done"]
    if done:
        return Outcome(spec, "present", record=records.effective(done))
    ignored = set((forgiven or {}).get(spec.key, ()))
    failed = sorted((record for record in found if record.attempt not in ignored), key=lambda record: record.ended)
    fatal = [record for record in failed if record.failure["class"] not in RETRIABLE]
    if fatal or len(failed) > RETRIES:
        return failure(spec, (fatal or failed)[-1])
    return None


def failure(spec: RunSpec, record: Record) -> Outcome:
    """The outcome of a failed attempt."""
    return Outcome(spec, "failed", f"{record.failure['class']}: {record.failure['message']}", record)


def run_one(
    spec: RunSpec, root: Path, tracker: str = "none", report: Callable[[dict], None] = lambda event: None, force: bool = False
) -> Outcome:
    """Claim ``spec``, execute it, release it; "claimed" where a living process has it. A run that it starts from comes first.

    The claim of a process that died is taken over, and the death becomes a failed record, so that a run that kills its process is not tried
    for ever.
    """
    for base in spec.starts_from():
        found = ensure(base, root, report)
        if found.state in ("preempted", "failed"):
            return Outcome(spec, found.state, f"the run {base.key} that it starts from: {found.message}", None)
    if rank_of(spec) > 0:  # the first process holds the claim for all
        return _execute(spec, root, tracker, report)
    try:
        claim = claims.take(root / spec.key, owner=tracker)
    except OSError as error:
        return unwritable(spec, root, error)
    if claim is None:
        return Outcome(spec, "claimed")
    with claims.heartbeat(claim):
        if claim.dead is not None:
            write_death(spec, root, f"process {claim.dead.get('pid')} on {claim.dead.get('host')} died")
        before = None if force else verdict(spec, root)
        if before is not None and before.state == "present":
            return before
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
            (root / spec.key / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
            return Outcome(spec, "pruned", str(stop))


def ensure(spec: RunSpec, root: Path, report: Callable[[dict], None] = lambda event: None) -> Outcome:
    """:func:`run_one`, waiting while another process runs it."""
    while True:
        outcome = verdict(spec, root)
        if outcome is None or outcome.state == "failed":  # asked for by name: a failure is tried again
            outcome = run_one(spec, root, "none", report)
        if outcome.state != "claimed" or stopping.requested():
            return outcome
        time.sleep(WAIT)


def unwritable(spec: RunSpec, root: Path, error: OSError) -> Outcome:
    """The outcome of a run whose folder cannot be written: full, read-only, gone."""
    reason = error.strerror or error
    return Outcome(spec, "failed", f"infra: {root / spec.key}: cannot be written ({reason}); free it or choose another folder with --out")


def _execute(spec: RunSpec, root: Path, tracker: str, report: Callable[[dict], None]) -> Outcome:
    try:
        record = execute(spec, root, tracker, report)
    except UserError as error:
        return Outcome(spec, "failed", str(error))
    except OSError as error:  # not even the record could be written
        return unwritable(spec, root, error)
    return Outcome(spec, "done", record=record) if record.status == "done" else failure(spec, record)


def write_death(spec: RunSpec, root: Path, message: str, kind: str = "killed") -> Record:
    """The record that a dead process could not write."""
    attempt = records.new_attempt()
    record = Record(
        spec.key,
        attempt,
        "failed",
        replace(spec, origin={}).to_dict(),
        failure={"class": kind, "message": message, "log": _tail(root / spec.key / "log.txt")},
        ended=records.now(),
        notes=spec.origin,
    )
    return records.write(record, root / spec.key / "attempts" / f"{attempt}.json")


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
    trainer = spec.config["trainer"]
    before = {record.attempt for record in attempts(root / spec.key)}
    file = root / spec.key / "spec.json"
    records.write_text_atomically(file, json.dumps(spec.to_dict()))
    command = [sys.executable, "-m", "elboard.sweeps.one", str(file), str(root), tracker]
    if os.environ.get("SLURM_JOB_ID") and trainer["num_nodes"] > 1:
        command = ["srun", f"--nodes={trainer['num_nodes']}", f"--ntasks-per-node={trainer['devices']}", "--kill-on-bad-exit=1", *command]
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    asked, seen, pruned = False, 0, None
    while process.poll() is None:
        try:
            seen = _follow(root / spec.key / "curves.jsonl", seen, spec, report)
        except stopping.Pruned as stop:  # all its processes are to leave, as if preempted
            pruned, report = stop, lambda event: None
        if (stopping.requested() or pruned) and not asked:
            asked = True
            _tell(process)
        time.sleep(0.1)
    if pruned:
        raise pruned
    new = [record for record in attempts(root / spec.key) if record.attempt not in before]
    if new:
        record = records.effective(new)
        return Outcome(spec, "done", record=record) if record.status == "done" else failure(spec, record)
    if process.returncode == EXIT_PREEMPTED or asked:
        raise stopping.Preempted
    return failure(spec, write_death(spec, root, f"its processes ended with exit code {process.returncode}"))


def _follow(curves: Path, seen: int, spec: RunSpec, report: Callable[[dict], None]) -> int:
    """Report the epochs that other processes have written since the first ``seen``."""
    try:
        lines = curves.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return seen
    whole = [line for line in lines if line.endswith("\n")]
    for line in whole[seen:]:
        report({"event": "epoch", "epochs": spec.config["train"]["epochs"], **json.loads(line)})
    return len(whole)


EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


def _tell(process: subprocess.Popen) -> None:
    """Pass a request to stop on to all processes of a run; srun passes it on to its tasks."""
    if process.args[0] == "srun":
        process.send_signal(signal.SIGUSR1)
    else:
        os.killpg(process.pid, signal.SIGUSR1)
