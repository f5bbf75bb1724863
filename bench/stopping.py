"""Stopping a run so that it can go on elsewhere: a flag that signals set and training looks at."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

END = (signal.SIGTERM, signal.SIGHUP)  # from outside: end, and the terminal or connection is gone

LEAVE = 10.0  # seconds for a process to end once its work is done: anybody's threads may never

_flag = threading.Event()


class Preempted(Exception):
    """The run was asked to stop and has saved a checkpoint from which the next attempt goes on. Not a failure: no record is written."""


class Pruned(Exception):
    """A search gave the run up, because others do better by now; the message says how. Not a failure: no record is written."""


def request(*_: Any) -> None:
    """Ask the training of this process to save a checkpoint after the present batch and to raise :class:`Preempted`. A signal handler."""
    _flag.set()


def requested() -> bool:
    return _flag.is_set()


def clear() -> None:
    _flag.clear()


def hear(handler: Callable[..., None], *signals: signal.Signals) -> dict[signal.Signals, Any]:
    """Have ``handler`` called at each of ``signals`` that is not ignored: ``nohup`` and shells' background jobs mean it.

    Returns the handlers from before, by signal.
    """
    return {number: signal.signal(number, handler) for number in signals if signal.getsignal(number) != signal.SIG_IGN}


def listen(*signals: signal.Signals) -> dict[signal.Signals, Any]:
    """Make each of ``signals`` a request, and return what :func:`hear` does."""
    return hear(request, *signals)


def end_within(seconds: float, code: int = 0) -> None:
    """Have this process end by then, whatever still runs in it."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
