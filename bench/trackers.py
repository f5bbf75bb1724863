"""Where curves go while a run trains: nowhere, a CSV file, or Weights & Biases."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec, flatten
from elboard.bench.errors import UserError, nearest
from elboard.bench.record import Record

TRACKERS = ("none", "csv", "wandb")


class Tracker:
    """The interface, and the tracker that does nothing."""

    def __init__(self, spec: RunSpec, folder: Path):
        self.spec, self.folder = spec, folder

    def epoch(self, row: dict[str, float]) -> None:
        """One epoch's means."""

    def finish(self, record: Record) -> None:
        """The attempt has ended; its pictures lie in the folder."""


class CSVTracker(Tracker):
    """``curves.csv`` in the run's folder, one row an epoch."""

    def __init__(self, spec: RunSpec, folder: Path):
        super().__init__(spec, folder)
        self.rows: list[dict[str, float]] = []

    def epoch(self, row: dict[str, float]) -> None:
        self.rows.append(row)

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
            config={"key": spec.key, **spec.identity()},
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
            reinit="finish_previous",
        )

    def epoch(self, row: dict[str, float]) -> None:
        self.run.log({name: value for name, value in row.items() if name != "event"})

    def finish(self, record: Record) -> None:
        import wandb

        self.run.summary.update(flatten({"metrics": record.metrics, "cost": record.cost, "status": record.status}))
        pictures: dict[str, Any] = {
            f"pictures/{Path(name).stem}": wandb.Image(str(self.folder / name)) for name in record.files.get("pictures", [])
        }
        if pictures:
            self.run.log(pictures)
        self.run.finish(exit_code=0 if record.status == "done" else 1)


def make(name: str, spec: RunSpec, folder: Path) -> Tracker:
    """The tracker called ``name``. Raises UserError for an unknown one."""
    classes = dict(zip(TRACKERS, (Tracker, CSVTracker, WandbTracker), strict=True))
    if name not in classes:
        raise UserError(f"no tracker {name!r}: {nearest(name, TRACKERS)}")
    return classes[name](spec, folder)
