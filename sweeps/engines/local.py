"""This machine: warm worker processes, forked from a server that has torch and Lightning loaded, each on its own cores and GPUs.

A worker that dies costs the attempt that it was at, which gets a failed record and is tried again; one that exceeds its run's time limit is
killed. Ctrl-C lets the runs save checkpoints and leaves what is not done to the next time. The parent may be killed: workers finish the run
that they are at and leave, and the next parent waits for them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.runs import RETRIABLE, Runs
from elboard.sweeps import claims
from elboard.sweeps.capacity import Capacity, cores, fitted, gpus
from elboard.sweeps.engines import Engine
from elboard.sweeps.engines.interrupts import Interrupts
from elboard.sweeps.engines.serial import one_after_another
from elboard.sweeps.planned import Plan
from elboard.sweeps.work import Outcome, Outcomes, Resources, outcome_of, run_one, unwritable, verdict, write_death

Watch = Callable[[RunSpec, dict], None]
GRACE = 20.0  # seconds for a worker to save a checkpoint and leave
RECYCLE = 50  # runs after which a worker is replaced: memory that a run does not give back must not add up
LOOK = 2.0  # seconds between looks at runs that other processes have claimed


def run_all(
    runs: Sequence[RunSpec],
    root: Path,
    *,
    jobs: int | None = 1,
    tracker: str = "none",
    force: bool = False,
    watch: Watch = lambda spec, event: None,
    resources: Mapping[str, Resources] | None = None,
    deadline: float | None = None,
    forgiven: Mapping[str, list[str]] | None = None,
    extend: Callable[[Mapping[str, Outcome]], list[RunSpec] | None] = lambda outcomes: None,
) -> list[Outcome]:
    """Execute ``runs``; those with a finished record are not run again unless ``force``.

    Args:
        jobs: cores to use; 1 runs one after another in this process, None takes what the machine has.
        watch: called with each run's events (``elboard.bench.run.execute``), and ``{"event": "end", "outcome": Outcome}``.
        resources: by key; one core, and one GPU where there is one, if absent.
        deadline: ``time.time()`` after which no run is started.
        forgiven: attempts by key whose failure does not count.
        extend: asked for more runs whenever one has ended, until it gives None (:class:`elboard.sweeps.frontier.Frontier`).

    Returns:
        Outcomes in the order of ``runs``, then of more runs as they were named; of runs that were not reached because of the deadline none.

    Raises:
        KeyboardInterrupt: after running workers have saved their checkpoints.
    """
    outcomes = Outcomes(runs)

    def ended(outcome: Outcome) -> None:
        outcomes[outcome.spec.key] = outcome
        watch(outcome.spec, {"event": "end", "outcome": outcome})

    if forgiven is None:  # what failed before is tried again: the user may have mended it
        forgiven = Runs(root).failures(one for spec in runs for one in (*spec.starts_from(), spec))
    known = Runs(root, forgiven)
    for outcome in () if force else (verdict(spec, known) for spec in runs):
        if outcome is not None:
            ended(outcome)
    todo = [spec for spec in runs if spec.key not in outcomes]
    if jobs == 1 and not resources and deadline is None:
        one_after_another(todo, known, tracker, watch, ended, force, lambda: outcomes.naming(extend))
    else:
        capacity = Capacity(cores() if jobs is None else jobs, dict.fromkeys(gpus(), 1.0))
        need = _need({} if resources is None else resources, capacity)
        Pool(known, tracker, capacity, watch, ended, deadline, force, lambda: outcomes.naming(extend), need).run(todo)
    return outcomes.in_order()


def _need(resources: Mapping[str, Resources], capacity: Capacity) -> Callable[[RunSpec], Resources]:
    """What a run needs, of a machine that has ``capacity`` while nothing runs."""
    whole = Capacity(capacity.cpus, dict(capacity.gpus))
    default = Resources(gpus=1.0 if whole.gpus else 0.0)
    return lambda spec: fitted(resources.get(spec.key, default), whole)


# --- workers ---------------------------------------------------------------------------------------


def _work(pipe: Connection, root: Path, tracker: str, force: bool, paths: list[str], visible: str | None, threads: int) -> None:
    """A worker: takes specifications from ``pipe`` and sends back events, then outcomes."""
    os.setsid()  # a signal for the worker reaches what it started, and the terminal's Ctrl-C does not reach the worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    stopping.listen(signal.SIGUSR1, signal.SIGTERM)
    sys.path[:] = paths
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    os.environ["OMP_NUM_THREADS"] = str(threads)

    def send(kind: str, content: Any) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: the run goes on, its record is what counts
            pipe.send((kind, content))

    while not stopping.requested():
        try:
            spec = pipe.recv()
        except (EOFError, OSError):
            return
        if spec is None:
            return
        send("end", run_one(spec, root, tracker, lambda event: send("event", event), force))


class _Worker:
    """A process with its GPUs; ``spec`` is what it runs now."""

    def __init__(self, pool: Pool, devices: tuple[str, ...], threads: int):
        self.devices, self.threads = devices, threads
        visible = ",".join(devices) if pool.has_gpus else None
        self.pipe, theirs = pool.context.Pipe()
        arguments = (theirs, pool.root, pool.tracker, pool.force, sys.path, visible, threads)
        self.process = pool.context.Process(target=_work, args=arguments, daemon=False)
        self.process.start()
        theirs.close()
        self.spec: RunSpec | None = None
        self.since, self.served = 0.0, 0
        self.overdue = False

    def give(self, spec: RunSpec) -> None:
        self.spec, self.since, self.overdue = spec, time.monotonic(), False
        self.served += 1
        self.pipe.send(spec)

    def tell(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number) if number == signal.SIGKILL else os.kill(self.process.pid, number)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.tell(signal.SIGKILL)
            self.process.join()


@dataclass(eq=False)
class Pool:
    """Runs in workers, as far as they fit into the machine."""

    runs: Runs
    tracker: str
    capacity: Capacity
    watch: Watch
    ended: Callable[[Outcome], None]
    deadline: float | None
    force: bool
    extend: Callable[[], list[RunSpec] | None]
    need: Callable[[RunSpec], Resources]

    def __post_init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self.context.set_forkserver_preload(["elboard.sweeps.engines.preload"])
        self.root, self.has_gpus = self.runs.root, bool(self.capacity.gpus)
        self.more, self.asked = True, -LOOK
        self.elsewhere: dict[str, RunSpec] = {}  # claimed by other processes
        self.workers: list[_Worker] = []

    def run(self, todo: list[RunSpec]) -> None:
        self.waiting, self.open = todo, {spec.key for spec in todo}
        self.needs = {spec.key: self.need(spec) for spec in todo}
        with Interrupts() as interrupts:
            try:
                self._loop(interrupts)
            except KeyboardInterrupt:
                self._preempt()
                raise
            finally:
                for worker in self.workers:
                    worker.stop()

    def _loop(self, interrupts: Interrupts) -> None:
        looked = 0.0
        while self.open or self.more:
            interrupts.check()
            self._ask()
            self._start()
            if not any(worker.spec for worker in self.workers):
                if self._late() or not (self.elsewhere or self.more):
                    break  # nothing that is left can start
                time.sleep(0.1)
            self._listen()
            if self.elsewhere and time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self._look_elsewhere()

    def known(self, spec: RunSpec) -> Outcome | None:
        """What the records say of ``spec`` by now."""
        return None if self.force else verdict(spec, self.runs)

    # --- starting ---------------------------------------------------------------------------------

    def _late(self) -> bool:
        return self.deadline is not None and time.time() > self.deadline

    def _ask(self) -> None:
        """Take in more runs. They come first, in the order given: what comes after them is not known yet."""
        if not self.more or self._late() or time.monotonic() - self.asked < LOOK:
            return
        found, self.asked = self.extend(), time.monotonic()
        self.more, first = found is not None, {spec.key: spec for spec in found or ()}
        here = {spec.key for spec in self.waiting}
        new = [spec for key, spec in first.items() if key in here or key not in self.open]
        self.waiting = [*new, *(spec for spec in self.waiting if spec.key not in first)]
        self.open.update(first)
        self.needs.update({spec.key: self.need(spec) for spec in new})

    def _start(self) -> None:
        """Give runs to workers while they fit. A run that is done already ends here."""
        if self._late():
            self.waiting.clear()
        for spec in list(self.waiting):
            if any(base.key in self.open for base in spec.starts_from()):
                continue
            need = self.needs[spec.key]
            if need.cpus > self.capacity.cpus:
                break  # keep the order: a large run is not overtaken for ever by small ones
            before = self.known(spec)
            if before is not None:
                self.waiting.remove(spec)
                self._close(before)
                continue
            devices = self.capacity.take(need)
            if devices is None:
                continue
            self.waiting.remove(spec)
            self._worker(devices, need.cpus).give(spec)

    def _worker(self, devices: tuple[str, ...], threads: int) -> _Worker:
        """An idle worker on these GPUs, or a new one; idle workers on others that stand in the way are let go."""
        idle = [worker for worker in self.workers if worker.spec is None]
        for worker in [worker for worker in idle if worker.served >= RECYCLE]:
            idle.remove(worker)
            self.workers.remove(worker)
            worker.stop()
        for worker in idle:
            if (worker.devices, worker.threads) == (devices, threads):
                return worker
        for worker in idle if self.has_gpus else []:  # its memory on the GPU must be free before another begins
            if set(worker.devices) & set(devices):
                self.workers.remove(worker)
                worker.stop()
        self.workers.append(_Worker(self, devices, threads))
        return self.workers[-1]

    # --- listening --------------------------------------------------------------------------------

    def _listen(self) -> None:
        busy = [worker for worker in self.workers if worker.spec is not None]
        if not busy:
            return
        for pipe in wait([worker.pipe for worker in busy], timeout=0.5):
            worker = next(worker for worker in busy if worker.pipe is pipe)
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if kind == "event":
                self.watch(worker.spec, content)
            else:
                self._settle(worker, content)
        for worker in busy:
            self._limit(worker)

    def _limit(self, worker: _Worker) -> None:
        if worker.spec is None or worker.overdue:
            return
        limit = self.needs[worker.spec.key].time
        if limit and time.monotonic() - worker.since > limit:
            worker.overdue = True
            worker.tell(signal.SIGKILL)

    def _free(self, worker: _Worker) -> RunSpec:
        spec, worker.spec = worker.spec, None
        self.capacity.give(self.needs[spec.key], worker.devices)
        return spec

    def _settle(self, worker: _Worker, outcome: Outcome) -> None:
        spec = self._free(worker)
        if outcome.state == "claimed":
            self.elsewhere[spec.key] = spec
        elif outcome.state == "failed" and outcome.record is not None and outcome.record.failure["class"] in RETRIABLE:
            if self.force or self.known(spec) is not None:
                self._close(outcome)
            else:
                self.waiting.insert(0, spec)
        else:
            self._close(outcome)

    def _bury(self, worker: _Worker) -> None:
        """A worker died: write the record that it could not write; the run is tried again while its attempts allow."""
        worker.process.join()
        self.workers.remove(worker)
        spec, kind, message = worker.spec, "killed", f"the worker process died (exit code {worker.process.exitcode})"
        if worker.overdue:
            kind, message = "timeout", f"exceeded its time limit of {self.needs[spec.key].time:.0f} s"
        try:
            outcome = outcome_of(spec, write_death(spec, self.root, message, kind))
            claims.release_dead(self.runs.folder(spec), worker.process.pid)
        except OSError as error:
            outcome = unwritable(spec, self.root, error)
        self._settle(worker, outcome)

    def _close(self, outcome: Outcome) -> None:
        self.open.discard(outcome.spec.key)
        self.asked = -LOOK  # its end may let others begin
        self.ended(outcome)

    def _look_elsewhere(self) -> None:
        """Runs that other processes had claimed: done by now, or free again because their process died."""
        for key, spec in list(self.elsewhere.items()):
            outcome = self.known(spec)
            if outcome is not None:
                del self.elsewhere[key]
                self._close(outcome)
            elif not claims.alive(self.runs.folder(spec)):
                del self.elsewhere[key]
                self.waiting.append(spec)

    def _preempt(self) -> None:
        """Ask all workers to save a checkpoint and wait for them, for a while; a second Ctrl-C cuts the wait short."""
        busy = [worker for worker in self.workers if worker.spec is not None]
        for worker in busy:
            worker.tell(signal.SIGUSR1)
        end = time.monotonic() + GRACE
        with contextlib.suppress(KeyboardInterrupt):
            while any(worker.spec for worker in busy) and time.monotonic() < end:
                for pipe in wait([worker.pipe for worker in busy if worker.spec], timeout=0.2):
                    worker = next(worker for worker in busy if worker.pipe is pipe)
                    try:
                        kind, content = pipe.recv()
                    except (EOFError, OSError):
                        self._free(worker)
                        continue
                    if kind == "end":
                        self._free(worker)
                        self.ended(content)
        for worker in self.workers:
            if worker.spec is not None:
                worker.tell(signal.SIGKILL)


class Local(Engine):
    """The command waits and shows progress."""

    def run(self, plan: Plan, how: Mapping[str, Any], force: bool, watch: Watch) -> list[Outcome]:
        return run_all(
            plan.runs,
            plan.root,
            jobs=how["jobs"],
            tracker=plan.tracker,
            force=force,
            watch=watch,
            resources=plan.resources,
            forgiven=plan.forgiven,
            extend=plan.frontier(),
        )
