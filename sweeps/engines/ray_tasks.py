"""Runs as tasks of Ray: the remote function, and the driver's side, which follows the local engine's rules. Imports Ray."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.record import effective
from elboard.bench.runs import RETRIES, Runs
from elboard.sweeps import claims
from elboard.sweeps.capacity import Capacity
from elboard.sweeps.engines.local import GRACE, LOOK, RECYCLE, Pool
from elboard.sweeps.work import Outcome, Outcomes, Resources, follow, outcome_of, run_one, unwritable, write_death

AHEAD = 2  # so many times what the cluster has is submitted, so that no slot waits for the driver
PROGRESS = 1.0  # seconds between looks at the curves of running tasks
PASSED_ON = ("ELBOARD_", "WANDB_")  # variables of the driver that runs must see
FOREIGN = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


# --- in a worker of Ray --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """What a run needs of the driver's surroundings."""

    folder: str = field(default_factory=os.getcwd)
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    variables: dict[str, str] = field(default_factory=lambda: {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)})

    def enter(self, threads: int) -> None:
        """Make them this process's."""
        with contextlib.suppress(OSError):
            os.chdir(self.folder)  # paths of plug-ins may be relative
        sys.path += [path for path in self.paths if path not in sys.path]
        for name in [name for name in os.environ if name.startswith("SLURM_") or name in FOREIGN]:
            del os.environ[name]  # Ray was started by srun or torchrun, the run was not
        os.environ.update(self.variables, OMP_NUM_THREADS=str(threads))


def _task(spec: RunSpec, root: Path, tracker: str, force: bool, threads: int, setting: _Setting) -> Iterator[dict[str, Any] | Outcome]:
    """The remote function: says first which process it is, then how the run ended."""
    stopping.clear()
    stopping.listen(signal.SIGUSR1)  # for good: one that comes too late must not end the process
    before = stopping.listen(signal.SIGINT, *stopping.END)
    try:
        yield {**claims.process(), "node": ray.get_runtime_context().get_node_id()}
        setting.enter(threads)
        if Runs(root).folder(spec).is_dir():
            yield run_one(spec, root, tracker, force=force)
        else:
            words = f"{root} is not the driver's folder on {claims.process()['host']}: --out must lie on a file system that all nodes share"
            yield Outcome(spec, "failed", words)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(pids: list[int], number: int) -> None:
    """A remote function that signals tasks of its node."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


# --- in the driver -------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Task:
    """A run that Ray has, in the place of a local worker. ``owner`` is its process, once it has begun."""

    spec: RunSpec | None
    stream: Any
    before: set[str]  # attempts from earlier
    owner: dict[str, Any] = field(default_factory=dict)
    node: str = ""
    since: float = math.inf
    overdue: bool = False
    seen: int = 0  # epochs that were told of

    def tell(self, number: signal.Signals) -> None:
        """Only SIGKILL can be told without a task on its node."""
        ray.cancel(self.stream, force=number == signal.SIGKILL)

    def dismiss(self) -> None:
        """Nothing to dismiss: what is left ends with the connection."""

    stop = dismiss


class Tasks(Pool):
    """The local engine's rules about what to run, to try again and to wait for, with Ray's tasks instead of workers."""

    def __init__(self, outcomes: Outcomes, tracker: str, need: Callable[[RunSpec], Resources], jobs: int | None):
        super().__init__(outcomes, tracker, Capacity(0), need)
        self.jobs, self.setting = jobs, _Setting()
        self.put_back: Counter[str] = Counter()
        self.limits: dict[str, float] = {}
        self.counted = self.followed = -math.inf

    # --- starting ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """Submit runs as far as the cluster will need them soon."""
        if time.monotonic() - self.counted > LOOK:  # nodes come and go
            self.counted, has = time.monotonic(), ray.cluster_resources()
            self.limits = {"CPU": self.jobs or AHEAD * has.get("CPU", 0.0), "GPU": AHEAD * has.get("GPU", 0.0)}
        super()._start()

    def _wanted(self, need: Resources) -> bool:
        taken = [self.needs[task.spec.key] for task in self.workers]
        cpus, gpus = need.cpus + sum(other.cpus for other in taken), need.gpus + sum(other.gpus for other in taken)
        return not taken or (cpus <= self.limits["CPU"] and (not need.gpus or gpus <= self.limits["GPU"]))

    def _begin(self, spec: RunSpec, need: Resources) -> bool:
        folder = self.runs.folder(spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._close(unwritable(spec, self.root, error))
            return True
        before = {file.stem for file in (folder / "attempts").glob("*.json")}
        share = need.gpus if need.gpus < 1 else int(need.gpus)
        served = 1 if need.gpus or any(one.code for one in (spec, *spec.starts_from())) else RECYCLE  # CUDA would not notice another GPU
        options = {"num_cpus": need.cpus, "num_gpus": share, "max_retries": 0, "max_calls": served, "name": spec.key}
        if need.memory:
            options["memory"] = int(need.memory * 2**30)
        call = ray.remote(**options)(_task)
        self.workers.append(_Task(spec, call.remote(spec, self.root, self.tracker, self.force, need.cpus, self.setting), before))
        return True

    # --- listening --------------------------------------------------------------------------------

    def _listen(self) -> None:
        for task in self._ready(0.5):
            self._hear(task)
        for task in self.workers:
            self._limit(task)
        if time.monotonic() - self.followed > PROGRESS:
            self.followed = time.monotonic()
            for task in self.workers:
                self._report(task)

    def _ready(self, timeout: float) -> list[_Task]:
        """The tasks that say something, or never will, within ``timeout`` seconds."""
        ready = ray.wait([task.stream for task in self.workers], timeout=timeout)[0] if self.workers else []
        return [task for task in self.workers if any(task.stream is stream for stream in ready)]

    def _hear(self, task: _Task) -> None:
        try:
            said = ray.get(next(task.stream))
        except (StopIteration, ray.exceptions.RayError) as error:
            self._died(task, error)
            return
        if isinstance(said, dict):
            task.node, task.owner, task.since = said.pop("node"), said, time.monotonic()
            self.watch(task.spec, {"event": "stage", "stage": "load"})
            return
        self._report(task)
        if said.state == "preempted" and self.put_back[said.spec.key] < RETRIES:  # its node is leaving; it goes on elsewhere
            self.put_back[said.spec.key] += 1
            self.waiting.insert(0, self._free(task))
        else:
            self._settle(task, said)

    def _report(self, task: _Task) -> None:
        """Tell of the epochs that a running task has written."""
        if task.owner:
            spec = task.spec
            task.seen = follow(spec, self.root, task.seen, lambda event: self.watch(spec, event))

    def _free(self, task: _Task) -> RunSpec:
        spec, task.spec = task.spec, None
        self.workers = [other for other in self.workers if other is not task]
        return spec

    def _died(self, task: _Task, error: Exception) -> None:
        """A task has no outcome: free its claims and, unless it left a record, write the one that it could not write."""
        spec = task.spec
        if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(error, ray.exceptions.TaskCancelledError):
            cause = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            self._free(task)
            self._close(Outcome(spec, "failed", f"on a node of the cluster: {cause}"))  # nothing of the run: ELBOard is not there, say
            return
        try:
            for run in (*spec.starts_from(), spec) if task.owner else ():
                claims.release_of(self.runs.folder(run), task.owner)
            record = effective(record for record in self.runs.attempts(spec) if record.attempt not in task.before)
            record = record or write_death(spec, self.root, *self._cause(task, error))
            outcome = outcome_of(spec, record)
        except OSError as problem:
            outcome = unwritable(spec, self.root, problem)
        self._settle(task, outcome)

    def _cause(self, task: _Task, error: Exception) -> tuple[str, str]:
        """Words and class of the record of a death."""
        if task.overdue:
            return f"exceeded its time limit of {self.needs[task.spec.key].time:.0f} s", "timeout"
        if isinstance(error, ray.exceptions.OutOfMemoryError):
            return "Ray ended it because its node ran out of memory", "oom"
        if isinstance(error, ray.exceptions.NodeDiedError):
            return "its node died", "killed"
        if isinstance(error, ray.exceptions.WorkerCrashedError):
            return "its process died", "killed"
        return f"Ray lost it ({type(error).__name__})", "killed"

    # --- stopping ---------------------------------------------------------------------------------

    def _preempt(self) -> None:
        """Have running tasks save a checkpoint, withdraw the others, and wait for a while; a second Ctrl-C cuts the wait short."""
        with contextlib.suppress(KeyboardInterrupt):
            for task in [task for task in self.workers if not task.owner]:
                task.tell(signal.SIGINT)
                self._free(task)
            for node in {task.node for task in self.workers}:
                there = NodeAffinitySchedulingStrategy(node, soft=False)
                call = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_tell)
                call.remote([task.owner["pid"] for task in self.workers if task.node == node], signal.SIGUSR1)
            end = time.monotonic() + GRACE
            while self.workers and time.monotonic() < end:
                for task in self._ready(0.2):
                    with contextlib.suppress(StopIteration, ray.exceptions.RayError):
                        self.outcomes.add(ray.get(next(task.stream)))
                    self._free(task)
        for task in self.workers:
            task.tell(signal.SIGKILL)
