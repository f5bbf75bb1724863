"""This machine: warm worker processes, forked from a server that has torch and Lightning loaded, each on its own cores and GPUs.

A worker that dies costs the attempt that it was at, which gets a failed record and is tried again; one that exceeds its run's time limit is
killed. Ctrl-C lets the runs save checkpoints and leaves what is not done to the next time. The parent may be killed: workers finish the run
that they are at and leave, and the next parent waits for them.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.runs import RETRIABLE, Runs
from elboard.sweeps import claims
from elboard.sweeps.capacity import Capacity, cores, fitted, gpus
from elboard.sweeps.engines import Engine
from elboard.sweeps.engines.serial import interrupts, one_after_another
from elboard.sweeps.engines.workers import Worker
from elboard.sweeps.plan import Plan
from elboard.sweeps.work import Extend, Outcome, Outcomes, Resources, Watch, outcome_of, unwritable, write_death

GRACE = 20.0  # seconds for a worker to save a checkpoint and leave
STARTS = 3  # workers that die before they begin until their run is given up
PAUSES = (0.0, 0.1, 0.3, 1.0, 3.0)  # seconds before each attempt at starting a worker
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
    extend: Extend = lambda outcomes: None,
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
    if forgiven is None:  # what failed before is tried again: the user may have mended it
        forgiven = Runs(root).failures(one for spec in runs for one in (*spec.starts_from(), spec))
    outcomes = Outcomes(runs, Runs(root.absolute(), forgiven), force, watch, extend)  # a run may change the working folder
    if jobs != 1 or resources or deadline is not None or not one_after_another(outcomes, tracker):
        whole = Capacity(cores() if jobs is None else jobs, dict.fromkeys(gpus(), 1.0))
        free, default = copy.deepcopy(whole), Resources(gpus=1.0 if whole.gpus else 0.0)
        said = {} if resources is None else resources  # which ``extend`` may add to
        Pool(outcomes, tracker, free, lambda spec: fitted(said.get(spec.key, default), whole), deadline).run()
    return outcomes.in_order()


@dataclass(eq=False)
class Pool:
    """Runs in workers, as far as they fit into the machine."""

    outcomes: Outcomes
    tracker: str
    capacity: Capacity
    need: Callable[[RunSpec], Resources]
    deadline: float | None = None

    def __post_init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self.context.set_forkserver_preload(["elboard.sweeps.engines.preload"])
        self.runs, self.force, self.watch = self.outcomes.runs, self.outcomes.force, self.outcomes.watch
        self.root, self.has_gpus = self.runs.root, bool(self.capacity.gpus)
        self.waiting = self.outcomes.todo
        self.open, self.needs = {spec.key for spec in self.waiting}, {spec.key: self.need(spec) for spec in self.waiting}
        self.more, self.asked = True, -LOOK
        self.elsewhere: dict[str, RunSpec] = {}  # claimed by other processes
        self.workers: list[Worker] = []
        self.leaving: list[Worker] = []
        self.stillborn = 0  # workers, one after another, that died before they had begun a run

    def run(self) -> None:
        with interrupts() as check:
            try:
                self._loop(check)
            except KeyboardInterrupt:
                self._preempt()
                raise
            finally:
                for worker in list(self.workers):
                    self._dismiss(worker)
                for worker in self.leaving:
                    worker.stop()

    def _dismiss(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.leaving.append(worker)
        worker.dismiss()

    def _loop(self, check: Callable[[], None]) -> None:
        looked = 0.0
        while self.open or self.more:
            check()
            self._ask()
            self._start()
            if not self._busy():
                if self._late() or not (self.elsewhere or self.more):
                    break  # nothing that is left can start
                time.sleep(0.1)
            self._listen()
            if self.elsewhere and time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self._look_elsewhere()

    # --- starting ---------------------------------------------------------------------------------

    def _late(self) -> bool:
        return self.deadline is not None and time.time() > self.deadline

    def _ask(self) -> None:
        """Take in more runs. They come first, in the order given: what comes after them is not known yet."""
        if not self.more or self._late() or time.monotonic() - self.asked < LOOK:
            return
        found, self.asked = self.outcomes.more(), time.monotonic()
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
            if not self._wanted(need):
                break  # keep the order: a large run is not overtaken for ever by small ones
            before = self.outcomes.known(spec)
            if before is not None:
                self._close(before)
            if before is not None or self._begin(spec, need):
                self.waiting.remove(spec)

    def _wanted(self, need: Resources) -> bool:
        """Whether there is room for a run as far as its order counts."""
        return need.cpus <= self.capacity.cpus

    def _begin(self, spec: RunSpec, need: Resources) -> bool:
        """Give the run to a worker, if its GPUs and memory are free."""
        devices = self.capacity.take(need)
        if devices is not None:
            self._worker(devices, need.cpus).give(spec)
        return devices is not None

    def _worker(self, devices: tuple[str, ...], threads: int) -> Worker:
        """An idle worker on these GPUs, or a new one; idle workers that stand in the way, have served long enough or died are let go."""
        idle = [worker for worker in self.workers if worker.spec is None]
        able = [worker for worker in idle if worker.served < RECYCLE and worker.lives()]
        fitting = [worker for worker in able if (worker.devices, worker.threads) == (devices, threads)]
        for worker in idle:
            if worker not in able or (not fitting and set(worker.devices) & set(devices)):
                self._dismiss(worker)
        for worker in self.leaving:  # its memory on the GPU must be free before another begins
            if set(worker.devices) & set(devices):
                worker.stop()
        if fitting:
            return fitting[0]
        self.workers.append(self._new(devices, threads))
        return self.workers[-1]

    def _new(self, devices: tuple[str, ...], threads: int) -> Worker:
        for pause in PAUSES:
            time.sleep(pause)
            try:
                return Worker(self.context, (self.root, self.tracker, self.force), self.has_gpus, devices, threads)
            except (OSError, EOFError) as error:  # the server that forks them died; another begins once the system has said so
                failed = error
        raise UserError(f"no worker process can be started ({type(failed).__name__}: {failed}); --jobs 1 does without")

    # --- listening --------------------------------------------------------------------------------

    def _listen(self) -> None:
        busy = self._busy()
        for worker, kind, content in self._said(busy, 0.5):
            if kind == "begun":
                worker.begun, self.stillborn = True, 0
            elif kind == "event":
                self.watch(worker.spec, content)
            elif kind == "end":
                self._settle(worker, content.outcome)
                if not content.stays:
                    self._dismiss(worker)
            else:
                self._bury(worker)
        for worker in busy:
            self._limit(worker)
        self.leaving = [worker for worker in self.leaving if not worker.gone()]

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.spec is not None]

    def _said(self, busy: list[Worker], timeout: float) -> Iterator[tuple[Worker, str, Any]]:
        """What workers say within ``timeout`` seconds, as they say it; "dead" for those that never will."""
        if busy:
            wait([worker.pipe for worker in busy], timeout)
        for worker in busy:
            lives, said = worker.lives(), ("dead", None)  # in this order: what a dead worker has said is there
            if worker.pipe.poll():
                with contextlib.suppress(EOFError, OSError):
                    said = worker.pipe.recv()
            elif lives:
                continue
            yield worker, *said  # dead though its pipe is open: processes that it started may hold it

    def _limit(self, worker: Worker) -> None:
        if worker.spec is None or worker.overdue:
            return
        limit = self.needs[worker.spec.key].time
        if limit and time.monotonic() - worker.since > limit:
            worker.overdue = True
            worker.tell(signal.SIGKILL)

    def _free(self, worker: Worker) -> RunSpec:
        spec, worker.spec = worker.spec, None
        self.capacity.give(self.needs[spec.key], worker.devices)
        return spec

    def _settle(self, worker: Worker, outcome: Outcome) -> None:
        spec = self._free(worker)
        if outcome.state == "claimed":
            self.elsewhere[spec.key] = spec
            return
        retriable = outcome.state == "failed" and outcome.record is not None and outcome.record.failure["class"] in RETRIABLE
        if retriable and not self.force and self.outcomes.known(spec) is None:
            self.waiting.insert(0, spec)
        else:
            self._close(outcome)

    def _bury(self, worker: Worker) -> None:
        """A worker died: write the record that it could not write; the run is tried again while its attempts allow. One that had not begun
        costs its run nothing."""
        self._dismiss(worker)
        worker.tell(signal.SIGKILL)  # what it started
        worker.stop()
        spec, kind, message = worker.spec, "killed", f"the worker process died (exit code {worker.process.exitcode})"
        if not worker.begun:
            self.stillborn += 1
            if self.stillborn < STARTS:
                self.waiting.insert(0, self._free(worker))
                return
            message = f"the worker process died before it began (exit code {worker.process.exitcode})"
        if worker.overdue:
            kind, message = "timeout", f"exceeded its time limit of {self.needs[spec.key].time:.0f} s"
        try:
            outcome = outcome_of(spec, write_death(spec, self.root, message, kind))
            claims.release_of(self.runs.folder(spec), {**claims.process(), "pid": worker.process.pid})
        except OSError as error:
            outcome = unwritable(spec, self.root, error)
        self._settle(worker, outcome)

    def _close(self, outcome: Outcome) -> None:
        self.open.discard(outcome.spec.key)
        self.asked = -LOOK  # its end may let others begin
        self.outcomes.add(outcome)

    def _look_elsewhere(self) -> None:
        """Runs that other processes had claimed: done by now, or free again because their process died."""
        for key, spec in list(self.elsewhere.items()):
            outcome = self.outcomes.known(spec)
            if outcome is not None:
                del self.elsewhere[key]
                self._close(outcome)
            elif not claims.alive(self.runs.folder(spec)):
                del self.elsewhere[key]
                self.waiting.append(spec)

    def _preempt(self) -> None:
        """Ask all workers to save a checkpoint and wait for them, for a while; a second Ctrl-C cuts the wait short."""
        for worker in self._busy():
            worker.tell(signal.SIGUSR1)
        end = time.monotonic() + GRACE
        with contextlib.suppress(KeyboardInterrupt):
            while self._busy() and time.monotonic() < end:
                for worker, kind, content in self._said(self._busy(), 0.2):
                    if kind in ("end", "dead"):
                        self._free(worker)
                    if kind == "end":
                        self.outcomes.add(content.outcome)
        for worker in self._busy():
            worker.tell(signal.SIGKILL)


class Local(Engine):
    """The command waits and shows progress."""

    def run(self, plan: Plan, how: Mapping[str, Any], force: bool, watch: Watch) -> list[Outcome]:
        return run_all(plan.runs, jobs=how["jobs"], force=force, watch=watch, extend=plan.frontier(), **plan.common)
