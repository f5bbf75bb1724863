"""This process: its signals, heard at once and acted upon between two steps, and one run after another in it, for a single core."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from elboard.bench import stopping
from elboard.sweeps.work import WAIT, Outcomes, run_apart

SIGNALS = (signal.SIGINT, *stopping.END)


@contextlib.contextmanager
def interrupts(first: Callable[[], None] = lambda: None, signals: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[Callable[[], None]]:
    """While it lasts, the first signal is noted, and raised as KeyboardInterrupt by the function given; a second one is raised at once.

    Raised wherever it arrives, an interrupt may fall into a callback or a destructor of a library, which swallows it.
    Outside the main thread nothing is installed.

    Args:
        first: called at the first signal.
        signals: to be heard.
    """
    heard = False

    def check() -> None:
        if heard:
            raise KeyboardInterrupt

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        check()
        heard = True
        first()

    here = threading.current_thread() is threading.main_thread()
    before = stopping.hear(hear, *signals) if here else {}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def one_after_another(outcomes: Outcomes, tracker: str) -> bool:
    """The runs that are to do, after those that are named meanwhile; what another process has claimed is come back to.

    Returns whether all are over; not where one has left this process unfit for the others, which are to do then.
    The first Ctrl-C asks for a checkpoint, a second one stops at once. Raises KeyboardInterrupt after the checkpoint.
    """
    waiting, more, fit = outcomes.todo, True, True
    with contextlib.ExitStack() as stack:
        stack.callback(stopping.clear)
        stack.enter_context(interrupts(stopping.request, (*SIGNALS, signal.SIGUSR1)))
        while (waiting or more) and fit:
            found = outcomes.more() if more else None
            more = found is not None
            if more:
                named = {spec.key: spec for spec in found}  # a trial that is not named again is over
                waiting = [*found, *(spec for spec in waiting if spec.key not in named and "trial" not in spec.origin)]
            for place, spec in enumerate(waiting):
                report = functools.partial(outcomes.watch, spec)
                outcome = outcomes.known(spec)
                if outcome is None:
                    outcome, fit = run_apart(spec, outcomes.runs.root, tracker, report, outcomes.force)
                if outcome.state != "claimed":
                    del waiting[place]
                    outcomes.add(outcome)
                    break
            else:
                time.sleep(WAIT if waiting or more else 0.0)
            if stopping.requested():
                raise KeyboardInterrupt
    outcomes.todo = waiting
    return fit
