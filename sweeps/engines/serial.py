"""This process: one run after another, for a single core."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence

from elboard.bench import stopping
from elboard.bench.config import RunSpec
from elboard.bench.runs import Runs
from elboard.sweeps.engines.interrupts import SIGNALS, Interrupts
from elboard.sweeps.work import WAIT, Outcome, run_one, verdict


def one_after_another(
    todo: Sequence[RunSpec],
    runs: Runs,
    tracker: str,
    watch: Callable[[RunSpec, dict], None],
    ended: Callable[[Outcome], None],
    force: bool,
    extend: Callable[[], list[RunSpec] | None],
) -> None:
    """The runs ``todo``, after those that ``extend`` names; what another process has claimed is come back to.

    The first Ctrl-C asks for a checkpoint, a second one stops at once. Raises KeyboardInterrupt after the checkpoint.
    """
    waiting, more = list(todo), True
    with contextlib.ExitStack() as stack:
        stack.callback(stopping.clear)
        stack.enter_context(Interrupts(stopping.request, (*SIGNALS, signal.SIGUSR1)))
        while waiting or more:
            found = extend() if more else None
            more = found is not None
            if more:
                named = {spec.key: spec for spec in found}  # a trial that is not named again is over
                waiting = [*found, *(spec for spec in waiting if spec.key not in named and "trial" not in spec.origin)]
            for place, spec in enumerate(waiting):
                known = None if force else verdict(spec, runs)
                outcome = known or run_one(spec, runs.root, tracker, lambda event, spec=spec: watch(spec, event), force)
                if outcome.state != "claimed":
                    del waiting[place]
                    ended(outcome)
                    break
            else:
                time.sleep(WAIT if waiting or more else 0.0)
            if stopping.requested():
                raise KeyboardInterrupt
