"""A live display of runs on standard error; plain lines where that is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from elboard.bench.config import RunSpec
from elboard.bench.metrics.conventions import better

EVERY = 5.0  # seconds between plain lines of one run
NAMED = 3  # tasks whose best run is shown


def _name(spec: RunSpec) -> str:
    trial = spec.origin.get("trial")
    return f"{spec.method} on {spec.task}, " + (f"trial {trial['number']}" if trial else f"seed {spec.seed}")


def _numbers(event: dict) -> str:
    """The loss and the validation metrics of an epoch."""
    shown = {name: value for name, value in event.items() if name == "train/loss" or name.startswith("valid/")}
    return " ".join(f"{name.split('/', 1)[1]}={value:.4g}" for name, value in list(shown.items())[:3])


def _ending(outcome: Any) -> str:
    if outcome.state == "failed":
        return f"FAILED: {outcome.message}"
    record = outcome.record
    if record is None:
        return outcome.message  # given up, or stopped with a checkpoint
    seconds = record.cost.get("wall_s")
    state = "done before" if outcome.state == "present" else "done" if seconds is None else f"done in {seconds:.1f} s"
    return f"{state}, {record.primary} {record.metrics[record.primary]:.4g}"


class Tally:
    """How far a sweep is: runs by state, the best of each task, and the time that the rest will take at the pace so far."""

    def __init__(self, total: int):
        self.total, self.counts, self.running = total, Counter(), set()
        self.best: dict[str, tuple[float, str]] = {}
        self.begun, self.now_done = time.monotonic(), 0

    def __call__(self, spec: RunSpec, event: dict) -> None:
        if event["event"] != "end":
            self.running.add(spec.key)
            return
        outcome = event["outcome"]
        self.running.discard(spec.key)
        self.counts["done" if outcome.state in ("done", "present") else outcome.state] += 1
        self.now_done += outcome.state == "done"
        if outcome.record is not None and outcome.state != "failed" and "trial" not in spec.origin:
            primary, value = outcome.record.primary, outcome.record.metrics[outcome.record.primary]
            if spec.task not in self.best or better(primary, value, self.best[spec.task][0]):
                self.best.pop(spec.task, None)  # the newest stand last
                self.best[spec.task] = value, f"{spec.task}: {spec.method} {primary}={value:.4g}"

    def left(self) -> int:
        return max(0, self.total - sum(self.counts.values()) - len(self.running))

    def leaders(self) -> str:
        """The best runs of the tasks that have had a new one last, and of how many others there are some."""
        texts = [text for _, text in self.best.values()][: -NAMED - 1 : -1]
        rest = len(self.best) - len(texts)
        more = f" and of {rest} more task{'s' if rest > 1 else ''}" if rest else ""
        return f"best so far: {'; '.join(texts)}{more}" if texts else ""

    def __str__(self) -> str:
        parts = [
            f"{self.counts[state]} {state}" for state in ("done", "failed", "pruned", "preempted") if state == "done" or self.counts[state]
        ]
        text = ", ".join([*parts, f"{len(self.running)} running", f"{self.left()} left"])
        if self.now_done and self.running and (todo := self.left() + len(self.running)):
            text += f", about {(time.monotonic() - self.begun) / self.now_done * todo / 60:.1f} min to go"
        return text


@contextlib.contextmanager
def display(total: int) -> Iterator[Callable[[RunSpec, dict], None]]:
    """Gives the function that is told of events, for ``total`` runs. Says what is left when it is stopped by Ctrl-C."""
    tally = Tally(total)
    try:
        with (_live if sys.stderr.isatty() else _lines)(tally) as watch:
            yield watch
    except KeyboardInterrupt:
        tally.running.clear()
        print(f"stopped with {tally}; finished runs are kept, and the same command goes on from here", file=sys.stderr)
        raise


@contextlib.contextmanager
def _lines(tally: Tally) -> Iterator[Callable[[RunSpec, dict], None]]:
    """One line at the start and the end of a run, and at most one every few seconds in between."""
    told: dict[str, float] = {}

    def watch(spec: RunSpec, event: dict) -> None:
        tally(spec, event)
        now, text = time.monotonic(), ""
        if event["event"] == "end":
            print(f"[{sum(tally.counts.values())}/{tally.total}] {_name(spec)}: {_ending(event['outcome'])}", file=sys.stderr, flush=True)
            return
        if event["event"] == "epoch" and now - told.get(spec.key, 0) > EVERY and "epochs" in event:
            text = f"epoch {event['epoch'] + 1}/{event['epochs']} {_numbers(event)}"
        elif event["event"] == "stage" and event["stage"] == "load":
            text = "started"
        if text:
            told[spec.key] = now
            print(f"{_name(spec)}: {text}", file=sys.stderr, flush=True)

    yield watch


@contextlib.contextmanager
def _live(tally: Tally) -> Iterator[Callable[[RunSpec, dict], None]]:
    """A bar for the sweep and one for each run at work, with its last losses; a line for each run that has ended; below, the leaders.

    Bar, percentage and time left come first and keep their width; what follows them is cut where the terminal ends. Leaders are folded.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Bars(Progress):
        leaders = ""

        def get_renderables(self) -> Iterator[Any]:
            yield from super().get_renderables()
            if self.leaders:
                yield Text(self.leaders)

    console = Console(stderr=True)
    text = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"), markup=False)
    bar = BarColumn(bar_width=max(8, min(30, console.width // 5)))
    columns = (bar, TaskProgressColumn(), TimeRemainingColumn(compact=True), text)
    with Bars(*columns, console=console, transient=True, expand=True) as progress:
        whole = progress.add_task("", total=tally.total) if tally.total > 1 else None
        bars: dict[str, Any] = {}

        def watch(spec: RunSpec, event: dict) -> None:
            tally(spec, event)
            if whole is not None:
                ended = sum(tally.counts.values())
                progress.update(whole, completed=ended, description=f"{ended}/{tally.total} runs: {tally}")
                progress.leaders = tally.leaders()
            if event["event"] == "end":
                if spec.key in bars:
                    progress.remove_task(bars.pop(spec.key))
                console.print(f"{_name(spec)}: {_ending(event['outcome'])}", highlight=False, markup=False)
                return
            if spec.key not in bars:
                bars[spec.key] = progress.add_task(_name(spec), total=None)
            if event["event"] == "stage":
                progress.update(bars[spec.key], description=f"{_name(spec)}: {event['stage']}")
            elif "epochs" in event:
                said = f"{_name(spec)}: epoch {event['epoch'] + 1}/{event['epochs']} {_numbers(event)}"
                progress.update(bars[spec.key], total=event["epochs"], completed=event["epoch"] + 1, description=said)

        yield watch
