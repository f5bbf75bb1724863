"""What is told of an attempt while it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from elboard.bench.record import Record, now

Report = Callable[[dict], None]


class Journal:
    """``log.txt`` and ``curves.jsonl`` of a run's folder, the caller's ``report``, and a tracker once there is one.

    One attempt writes at a time; of processes that train together the first alone (the others have logs of their own).
    """

    def __init__(self, folder: Path, rank: int, report: Report):
        self.report, self.stage, self.tracker = report, "start", None
        self.lines: list[str] = []
        self.heard: list[str] = []  # warnings
        name, curves = ("log.txt", folder / "curves.jsonl") if rank == 0 else (f"log.rank{rank}.txt", Path(os.devnull))
        self.file = open(folder / name, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)
        self.curves = open(curves, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def line(self, text: str) -> None:
        stamped = [f"{now()} {line}" for line in text.rstrip().splitlines()]
        self.lines += stamped
        self.file.write("\n".join(stamped) + "\n")

    def enter(self, stage: str) -> None:
        self.stage = stage
        self.line(stage)
        self.report({"event": "stage", "stage": stage})

    def event(self, event: dict) -> None:
        """An event of training: epochs go into the curves and to the tracker, all to the caller."""
        if event["event"] == "epoch":
            row = {name: value for name, value in event.items() if name not in ("event", "epochs")}
            self.curves.write(json.dumps(row) + "\n")
            self.tracker.epoch(row)
        self.report(event)

    def finish(self, record: Record) -> None:
        self.line(f"{record.status}{': ' + record.failure['message'] if record.failure else ''}")
        if self.tracker is not None:
            self.tracker.finish(record)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Until it is closed, warnings go here instead of to the screen."""

        def show(message: Any, category: type, filename: str, lineno: int, *rest: Any) -> None:
            text = f"{category.__name__}: {message}".splitlines()[0]
            if text not in self.heard:
                self.heard.append(text)
                self.line(text)

        with self.file, self.curves, warnings.catch_warnings():
            warnings.showwarning = show
            yield
