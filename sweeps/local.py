"""Running the runs of a sweep on one machine: one after another, or over warm worker processes that survive each other's death."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.config import RunSpec
from bench.errors import UserError
from bench.record import Record, new_attempt, write

Watch = Callable[[RunSpec, dict], None]


@dataclass
class Outcome:
    """How a run ended: "done" now, "present" from before, or "failed", with one line that says why."""

    spec: RunSpec
    state: str
    message: str = ""
    record: Record | None = field(default=None, repr=False)


def default_jobs() -> int:
    """One worker per usable core; one in all where there is an NVIDIA GPU to share."""
    if shutil.which("nvidia-smi"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    runs: Sequence[RunSpec],
    root: Path,
    *,
    jobs: int = 1,
    tracker: str = "none",
    force: bool = False,
    watch: Watch = lambda spec, event: None,
) -> list[Outcome]:
    """Execute ``runs``; those with a finished record are not run again unless ``force``.

    Args:
        jobs: processes; 1 runs in this process. A run starts after the run that it starts from. A worker that is killed costs its own
            run alone: that run gets a failed record of class ``killed`` and a new worker goes on.
        watch: called with each run's events (``bench.run.execute``), and ``{"event": "end", "outcome": Outcome}``.

    Returns:
        Outcomes in the order of ``runs``.
    """
    from bench.run import finished

    outcomes: dict[str, Outcome] = {}
    todo = []
    for spec in runs:
        record = None if force else finished(spec, root)
        if record:
            outcomes[spec.key] = Outcome(spec, "present", record=record)
            watch(spec, {"event": "end", "outcome": outcomes[spec.key]})
        else:
            todo.append(spec)

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.spec.key] = outcome
        watch(outcome.spec, {"event": "end", "outcome": outcome})

    if jobs <= 1 or len(todo) <= 1:
        for spec in todo:
            ended(_run_one(spec, root, tracker, lambda event, spec=spec: watch(spec, event)))
    elif todo:
        _Pool(min(jobs, len(todo)), root, tracker, watch, ended).run(todo)
    return [outcomes[spec.key] for spec in runs]


def _run_one(spec: RunSpec, root: Path, tracker: str, report: Callable[[dict], None]) -> Outcome:
    from bench.run import execute

    try:
        record = execute(spec, root, tracker, report)
    except UserError as error:
        return Outcome(spec, "failed", str(error))
    if record.status == "done":
        return Outcome(spec, "done", record=record)
    return Outcome(spec, "failed", f"{record.failure['class']}: {record.failure['message']}", record)


def _work(pipe: Connection, root: Path, tracker: str, paths: list[str]) -> None:
    """A worker: takes specifications from ``pipe`` and sends back events, then outcomes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.path[:] = paths
    while True:
        try:
            spec = pipe.recv()
        except EOFError:
            return
        if spec is None:
            return
        pipe.send(("end", _run_one(spec, root, tracker, lambda event: pipe.send(("event", event)))))


class _Worker:
    def __init__(self, pool: _Pool):
        self.pipe, theirs = pool.context.Pipe()
        self.process = pool.context.Process(target=_work, args=(theirs, pool.root, pool.tracker, sys.path), daemon=False)
        self.process.start()
        theirs.close()
        self.spec: RunSpec | None = None

    def give(self, spec: RunSpec) -> None:
        self.spec = spec
        self.pipe.send(spec)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Pool:
    """Workers forked from a server that has imported torch once."""

    def __init__(self, size: int, root: Path, tracker: str, watch: Watch, ended: Callable[[Outcome], None]):
        methods = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self.context.set_forkserver_preload(["pytorch_lightning", "bench.run", "bench.training"])
        self.size, self.root, self.tracker, self.watch, self.ended = size, root, tracker, watch, ended
        self.workers: list[_Worker] = []

    def run(self, todo: list[RunSpec]) -> None:
        waiting, open_keys = list(todo), {spec.key for spec in todo}
        try:
            self.workers = [_Worker(self) for _ in range(self.size)]
            while open_keys:
                for worker in self.workers:
                    if worker.spec is None:
                        ready = next((s for s in waiting if s.base is None or s.base.key not in open_keys), None)
                        if ready is not None:
                            waiting.remove(ready)
                            worker.give(ready)
                busy = [worker for worker in self.workers if worker.spec is not None]
                for pipe in wait([worker.pipe for worker in busy]):
                    outcome = self._receive(next(worker for worker in busy if worker.pipe is pipe))
                    if outcome:
                        open_keys.discard(outcome.spec.key)
                        self.ended(outcome)
        except KeyboardInterrupt:
            for worker in self.workers:
                worker.process.terminate()
            raise
        finally:
            for worker in self.workers:
                worker.stop()

    def _receive(self, worker: _Worker) -> Outcome | None:
        spec = worker.spec
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if kind == "event":
            self.watch(spec, content)
            return None
        worker.spec = None
        return content

    def _bury(self, worker: _Worker) -> Outcome:
        """A worker died: write the record that it could not write, and put a new worker in its place."""
        worker.process.join()
        spec, code = worker.spec, worker.process.exitcode
        message = f"the worker process died (exit code {code})"
        record = Record(spec.key, new_attempt(), "failed", spec.to_dict(), failure={"class": "killed", "message": message, "log": ""})
        write(record, self.root / spec.key / "attempts" / f"{record.attempt}.json")
        self.workers[self.workers.index(worker)] = _Worker(self)
        return Outcome(spec, "failed", f"killed: {message}", record)
