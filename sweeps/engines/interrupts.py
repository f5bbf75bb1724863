"""Ctrl-C and SIGTERM, heard at once and acted upon between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, the first signal is noted and raised as KeyboardInterrupt by :meth:`check`; a second one is raised at once.

    Raised wherever it arrives, an interrupt may fall into a callback or a destructor of a library, which swallows it.
    Outside the main thread nothing is installed.

    Args:
        first: called at the first signal.
        signals: to be heard.
    """

    def __init__(self, first: Callable[[], None] = lambda: None, signals: tuple[signal.Signals, ...] = SIGNALS) -> None:
        self.heard, self.first, self.signals = False, first, signals
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in self.signals if signal.getsignal(number) != signal.SIG_IGN]
            self.before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True
        self.first()

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.heard:
            raise KeyboardInterrupt
