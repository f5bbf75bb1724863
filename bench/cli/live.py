"""A live display of runs on standard error; plain lines where that is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.config import RunSpec

EVERY = 5.0  # seconds between plain lines of one run


def _name(spec: RunSpec) -> str:
    return f"{spec.method} on {spec.task}, seed {spec.seed}"


def _numbers(event: dict) -> str:
    """The loss and the validation metrics of an epoch."""
    shown = {name: value for name, value in event.items() if name == "train/loss" or name.startswith("valid/")}
    return " ".join(f"{name.split('/', 1)[1]}={value:.4g}" for name, value in list(shown.items())[:3])


def _ending(outcome: Any) -> str:
    if outcome.state == "failed":
        return f"FAILED: {outcome.message}"
    record = outcome.record
    state = "done before" if outcome.state == "present" else f"done in {record.cost.get('wall_s', 0):.1f} s"
    return f"{state}, {record.primary} {record.metrics[record.primary]:.4g}"


@contextlib.contextmanager
def display(total: int) -> Iterator[Callable[[RunSpec, dict], None]]:
    """Gives the function that is told of events, for ``total`` runs."""
    with _live(total) if sys.stderr.isatty() else contextlib.nullcontext(_Lines(total)) as watch:
        yield watch


class _Lines:
    """One line at the start and the end of a run, and at most one every few seconds in between."""

    def __init__(self, total: int):
        self.total, self.ended, self.said = total, 0, {}

    def __call__(self, spec: RunSpec, event: dict) -> None:
        now = time.monotonic()
        if event["event"] == "end":
            self.ended += 1
            self._print(f"[{self.ended}/{self.total}] {_name(spec)}: {_ending(event['outcome'])}")
        elif event["event"] == "epoch" and now - self.said.get(spec.key, 0) > EVERY and "epochs" in event:
            self.said[spec.key] = now
            self._print(f"{_name(spec)}: epoch {event['epoch'] + 1}/{event['epochs']} {_numbers(event)}")
        elif event["event"] == "stage" and event["stage"] == "load":
            self.said[spec.key] = now
            self._print(f"{_name(spec)}: started")

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _live(total: int) -> Iterator[Callable[[RunSpec, dict], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        whole = progress.add_task("runs", total=total, note="") if total > 1 else None
        bars: dict[str, Any] = {}

        def watch(spec: RunSpec, event: dict) -> None:
            if event["event"] == "end":
                if spec.key in bars:
                    progress.remove_task(bars.pop(spec.key))
                if whole is not None:
                    progress.advance(whole)
                console.print(f"{_name(spec)}: {_ending(event['outcome'])}", highlight=False, markup=False)
                return
            if spec.key not in bars:
                bars[spec.key] = progress.add_task(_name(spec), total=None, note="")
            if event["event"] == "stage":
                progress.update(bars[spec.key], note=event["stage"])
            elif "epochs" in event:
                progress.update(bars[spec.key], total=event["epochs"], completed=event["epoch"] + 1, note=_numbers(event))

        yield watch
