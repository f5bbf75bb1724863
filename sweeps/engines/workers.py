"""The local engine's worker processes: each runs one specification after another, until it is told or asked by a signal to leave, or a run
has left it changed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from elboard.bench import plugins, stopping
from elboard.bench.config import RunSpec
from elboard.sweeps.work import Outcome, run_apart


class Ended(NamedTuple):
    """How a run ended, and whether its worker takes another."""

    outcome: Outcome
    stays: bool


def _work(pipe: Connection, root: Path, tracker: str, force: bool, paths: list[str], visible: str | None, threads: int) -> None:
    """A worker: takes specifications from ``pipe`` and sends back that it has begun, events, and the end."""
    os.setsid()  # a signal for the worker reaches what it started, and the terminal's Ctrl-C does not reach the worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    stopping.listen(signal.SIGUSR1, *stopping.END)
    sys.path[:] = paths
    plugins.hush()
    os.dup2(2, 1)  # what a run prints is no result of the command
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    os.environ["OMP_NUM_THREADS"] = str(threads)

    def send(kind: str, content: Any = None) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: the run goes on, its record is what counts
            pipe.send((kind, content))

    stays = True
    while stays:
        try:
            spec = pipe.recv()
        except (EOFError, OSError):
            break
        if spec is None or stopping.requested():  # before it has begun, so that another worker takes it
            break
        send("begun")
        try:
            outcome, stays = run_apart(spec, root, tracker, lambda event: send("event", event), force)
        except KeyboardInterrupt:  # a signal at a moment at which there is nothing to save
            outcome, stays = Outcome(spec, "preempted", "stopped by a signal"), False
        stays = stays and not stopping.requested()
        send("end", Ended(outcome, stays))
    stopping.end_within(stopping.LEAVE)


class Worker:
    """A process with its GPUs; ``spec`` is what it runs now.

    Args:
        context: of multiprocessing. arguments: the root, the tracker and whether to force, for all its runs.
        visible: whether to show it its ``devices``, which may be none.
    """

    def __init__(self, context: Any, arguments: tuple[Path, str, bool], visible: bool, devices: tuple[str, ...], threads: int):
        self.devices, self.threads = devices, threads
        self.pipe, theirs = context.Pipe()
        shown = ",".join(devices) if visible else None
        self.process = context.Process(target=_work, args=(theirs, *arguments, sys.path, shown, threads), daemon=False)
        try:
            self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.spec: RunSpec | None = None
        self.since, self.served = 0.0, 0
        self.begun = self.overdue = False

    def give(self, spec: RunSpec) -> None:
        self.spec, self.since, self.begun, self.overdue = spec, time.monotonic(), False, False
        self.served += 1
        with contextlib.suppress(OSError):  # it has died: that it says nothing is noticed
            self.pipe.send(spec)

    def lives(self) -> bool:
        """Also where the server from which it was forked, which knows of its end, does not."""
        if self.process.is_alive():
            return True
        try:
            os.kill(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL to all that it started too."""
        for send in (os.killpg, os.kill) if number == signal.SIGKILL else (os.kill,):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # one that has just been forked has no group yet
                send(self.process.pid, number)

    def dismiss(self) -> None:
        """Let it leave, without waiting for it."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()
        self.since = time.monotonic()

    def gone(self) -> bool:
        """Whether a dismissed worker has ended; one that should have is killed."""
        if self.lives() and time.monotonic() - self.since > stopping.LEAVE:
            self.tell(signal.SIGKILL)
            self.process.join(1)
            return True
        return not self.lives()

    def stop(self) -> None:
        """Wait for a dismissed worker to end."""
        while not self.gone():
            time.sleep(0.02)
