"""What is told of an attempt while it goes on, and where its curves go: nowhere else, to a CSV file, or to Weights & Biases."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from elboard.bench import plain
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError, check_known
from elboard.bench.metrics.conventions import convention
from elboard.bench.record import Record, now, write_text_atomically

Report = Callable[[dict], None]
WAIT = 30  # seconds for a W&B server to answer before a run goes on offline


class Journal:
    """``log.txt`` and ``curves.jsonl`` of a run's folder, the caller's ``report``, and a tracker once there is one.

    One attempt writes at a time; of processes that train together the first alone (the others have logs of their own).
    """

    def __init__(self, folder: Path, rank: int, report: Report):
        self.report, self.stage, self.tracker = report, "start", None
        self.lines: list[str] = []
        self.heard: list[str] = []  # warnings
        name, curves = ("log.txt", folder / "curves.jsonl") if rank == 0 else (f"log.rank{rank}.txt", Path(os.devnull))
        self.file = open(folder / name, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115 (closed by close)
        self.curves = open(curves, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def begin(self, tracker: str, spec: RunSpec, folder: Path) -> None:
        """Begin to tell the tracker of that name, which costs no result if it cannot."""
        try:
            self.tracker = make_tracker(tracker, spec, folder)
        except UserError:
            raise
        except Exception as error:
            self._failed(error)

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
            self._track("epoch", row)
        self.report(event)

    def tracked(self, history: list[dict[str, float]]) -> None:
        """The epochs once more, with what was found of them after training."""
        if any(name.startswith("track/") for row in history for name in row):
            write_text_atomically(Path(self.curves.name), "".join(f"{json.dumps(row)}\n" for row in history))  # others may be reading
            self._track("tracked", history)

    def finish(self, record: Record) -> None:
        self.line(f"{record.status}{': ' + record.failure['message'] if record.failure else ''}")
        self._track("finish", record)

    def stopped(self, text: str, preempted: bool) -> None:
        """The attempt leaves no record: it goes on elsewhere, or was given up."""
        self.line(text)
        self._track("stopped", preempted)

    def _track(self, what: str, *content: Any) -> None:
        """Tell the tracker. One that fails is told nothing more, and costs no result."""
        try:
            if self.tracker is not None:
                getattr(self.tracker, what)(*content)
        except Exception as error:  # of a network, a full disk, a service that ended
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        warnings.warn(f"the tracker failed and is told nothing more ({type(error).__name__}: {error})", stacklevel=1)
        self.tracker = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Until it is closed, warnings go here instead of to the screen."""

        def show(message: Any, category: type, filename: str, lineno: int, *rest: Any) -> None:
            text = plain.heard(f"{category.__name__}: {message}".splitlines()[0])
            if text and text not in self.heard:
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

    def stopped(self, preempted: bool) -> None:
        """The attempt has stopped without a record: to go on from a checkpoint, or for good."""


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
    """A Weights & Biases run: configuration, curves, summary, pictures; ``wandb.mode=offline`` needs no network.

    All attempts at a run are one W&B run, whose id is the run's key. An attempt that goes on from a checkpoint is told all epochs again:
    online those that are there are passed over; the files of an offline attempt hold all, so that the last one's are enough.
    """

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec, folder)
        self.run = self._begin()
        self.there = self.run.summary.get("epoch", -1) if self.run.resumed else -1
        self.defined: set[str] = set()

    def _begin(self) -> Any:
        """In the mode asked for; offline where there is no login or no network."""
        import wandb

        options = self.spec.config["wandb"]
        mode = options["mode"] if options["mode"] != "online" else os.environ.get("WANDB_MODE") or "online"
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True, init_timeout=WAIT)
        how = {
            "project": options["project"],
            "entity": options["entity"] or None,
            "group": options["group"] or self.spec.task,
            "name": f"{self.spec.method}-{self.spec.task.replace('/', '-')}-s{self.spec.seed}",
            "tags": [self.spec.task, self.spec.method, self.spec.budget],
            "config": {"key": self.spec.key, **self.spec.identity(), "config": self.spec.config},
            "dir": str(self.folder),
            "settings": quiet,
            "reinit": "finish_previous",
            "id": self.spec.key,
        }
        try:
            if mode == "online" and not wandb.login(prompt=False):
                raise ConnectionError("nobody is logged in, see `wandb login`")
            return wandb.init(mode=mode, **how, **({"resume": "allow"} if mode == "online" else {}))
        except Exception as error:  # of many classes
            if mode in ("offline", "disabled"):
                raise
            warnings.warn(f"W&B goes on offline, `elboard sync` uploads it later: {' '.join(str(error).split())[:200]}", stacklevel=1)
            return wandb.init(mode="offline", **how)

    def _log(self, row: dict[str, float]) -> None:
        """A row of the curves. Of a metric with a direction, the summary is the best epoch's value."""
        for name in row.keys() - self.defined - {"epoch"}:
            part, _, key = name.partition("/")
            try:
                best = {"higher": "max", "lower": "min"}.get(convention(key).direction) if part in ("valid", "track") else None
            except UserError:  # a diagnostic of the task
                best = None
            self.run.define_metric(sortable(name), step_metric="epoch", summary=best)
            self.defined.add(name)
        self.run.log({sortable(name): value for name, value in row.items()})

    def epoch(self, row: dict[str, float]) -> None:
        if row["epoch"] > self.there:
            self._log(row)

    def tracked(self, history: list[dict[str, float]]) -> None:
        for row in history:
            self._log({name: value for name, value in row.items() if name == "epoch" or name.startswith("track/")})

    def finish(self, record: Record) -> None:
        import wandb

        found = {f"{part}/{name}": value for part in ("metrics", "cost") for name, value in getattr(record, part).items()}
        self.run.summary.update({sortable(name): value for name, value in found.items()} | {"status": record.status})
        pictures: dict[str, Any] = {
            f"pictures/{Path(name).stem}": wandb.Image(str(self.folder / name)) for name in record.files.get("pictures", [])
        }
        if pictures:
            self.run.log(pictures)
        self.run.finish(exit_code=0 if record.status == "done" else 1)

    def stopped(self, preempted: bool) -> None:
        if preempted:
            self.run.mark_preempting()
        self.run.finish(exit_code=int(preempted))


def sortable(name: str) -> str:
    """``name`` as W&B can sort and filter by it: ``valid/nll[k=50]`` is ``valid/nll_k_50``."""
    return re.sub(r"[^\w/]+", "_", name).strip("_")


TRACKERS = {"none": Tracker, "csv": CSVTracker, "wandb": WandbTracker}


def check_tracker(name: str) -> None:
    """Raises UserError for an unknown tracker, and for one whose package is not installed."""
    check_known("tracker", name, TRACKERS)
    found = importlib.util.find_spec("wandb") if name == "wandb" else None
    if name == "wandb" and (found is None or found.origin is None):  # a folder of that name, such as W&B leaves behind, is none
        raise UserError("--tracker wandb: the package wandb is not installed: pip install wandb")


def make_tracker(name: str, spec: RunSpec, folder: Path) -> Tracker:
    """The tracker called ``name``. Raises UserError as :func:`check_tracker`."""
    check_tracker(name)
    return TRACKERS[name](spec, folder)
