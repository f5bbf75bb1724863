"""What is told of an attempt while it goes on, and where its curves go: nowhere else, to a CSV file, or to Weights & Biases."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec
from elboard.bench.errors import check_known
from elboard.bench.identity import flatten
from elboard.bench.record import Record, now, write_text_atomically

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

    def tracked(self, history: list[dict[str, float]]) -> None:
        """The epochs once more, with what was found of them after training."""
        if any(name.startswith("track/") for row in history for name in row):
            write_text_atomically(Path(self.curves.name), "".join(f"{json.dumps(row)}\n" for row in history))  # others may be reading
            self.tracker.tracked(history)

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


class Tracker:
    """The interface, and the tracker that does nothing."""

    def __init__(self, spec: RunSpec, folder: Path):
        self.spec, self.folder = spec, folder

    def epoch(self, row: dict[str, float]) -> None:
        """One epoch's means."""

    def tracked(self, history: list[dict[str, float]]) -> None:
        """All epochs, with what was found of them after training as ``track/...``."""

    def finish(self, record: Record) -> None:
        """The attempt has ended; its pictures lie in the folder."""


class CSVTracker(Tracker):
    """``curves.csv`` in the run's folder, one row an epoch."""

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec, folder)
        self.rows: list[dict[str, float]] = []

    def epoch(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def tracked(self, history: list[dict[str, float]]) -> None:
        self.rows = history

    def finish(self, record: Record) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(self.folder / "curves.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)


class WandbTracker(Tracker):
    """A Weights & Biases run: configuration, curves, summary, pictures; ``wandb.mode=offline`` needs no network."""

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec, folder)
        import wandb

        options = spec.config["wandb"]
        self.run = wandb.init(
            project=options["project"],
            entity=options["entity"] or None,
            mode=options["mode"],
            group=options["group"] or spec.task,
            name=f"{spec.method}-{spec.task.replace('/', '-')}-s{spec.seed}",
            tags=[spec.task, spec.method, spec.budget],
            dir=str(folder),
            config={"key": spec.key, **spec.identity(), "config": spec.config},
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
            reinit="finish_previous",
        )

    def epoch(self, row: dict[str, float]) -> None:
        self.run.log(row)

    def tracked(self, history: list[dict[str, float]]) -> None:
        for row in history:
            self.run.log({name: value for name, value in row.items() if name == "epoch" or name.startswith("track/")})

    def finish(self, record: Record) -> None:
        import wandb

        self.run.summary.update(flatten({"metrics": record.metrics, "cost": record.cost, "status": record.status}))
        pictures: dict[str, Any] = {
            f"pictures/{Path(name).stem}": wandb.Image(str(self.folder / name)) for name in record.files.get("pictures", [])
        }
        if pictures:
            self.run.log(pictures)
        self.run.finish(exit_code=0 if record.status == "done" else 1)


TRACKERS = {"none": Tracker, "csv": CSVTracker, "wandb": WandbTracker}


def make_tracker(name: str, spec: RunSpec, folder: Path) -> Tracker:
    """The tracker called ``name``. Raises UserError for an unknown one."""
    check_known("tracker", name, TRACKERS)
    return TRACKERS[name](spec, folder)
