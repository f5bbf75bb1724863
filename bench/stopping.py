"""Stopping a run so that it can go on elsewhere: a flag that signals set and training looks at."""

from __future__ import annotations

import signal
import threading
from typing import Any

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


def listen(*signals: signal.Signals) -> None:
    """Make each of ``signals`` a request."""
    for number in signals:
        signal.signal(number, request)
