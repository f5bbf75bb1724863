"""What a search leaves on the shared folder, and when a trial is given up. Never imports torch.

``<root>/sweeps/searches/<id>/`` holds files that are written once and never changed:

- ``trial-<n>.json``: the parameters of trial n and the key of its run, whose records are its result;
- ``pruned-<n>.json``: after which epoch trial n was given up, at what value, and the seconds that it had taken.

Trials are given up by asynchronous successive halving (ASHA; Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning",
algorithm 2): at rungs of r, 3r, 9r ... epochs a trial goes on if its validation metric is among the best third of the values that trials
have had there so far. Differences from the paper: a trial that does not go on is stopped and not paused, so that none is taken up again
later; and the best trial at a rung goes on even while fewer than three have come there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import better
from elboard.bench.registry import find
from elboard.bench.runs import Runs
from elboard.bench.stopping import Pruned

ETA = 3


def folder_of(root: Path, search_id: str) -> Path:
    return root / "sweeps" / "searches" / search_id


def read(file: Path) -> dict[str, Any] | None:
    """The content of a trial's file; None where there is none. Raises UserError for a file that was changed by hand."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"{file}: is no file of a search") from None


def write_once(file: Path, tree: Mapping[str, Any]) -> bool:
    """Write JSON as a whole, unless the file exists: of several writers one alone succeeds. Whether it was this one."""
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    records.write_text_atomically(draft, json.dumps(tree))
    try:
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def rungs(train: Mapping[str, Any], grace: int = 0) -> list[int]:
    """Epochs after which a trial is compared with others, each with a validation; the first after ``grace`` epochs (0: a ninth of all)."""
    epochs, every = train["epochs"], train["validate_every"]
    found: list[int] = []
    rung = grace or math.ceil(epochs / ETA**2)
    while every and 0 < rung < epochs:
        at = math.ceil(rung / every) * every
        if at < epochs and at not in found:
            found.append(at)
        rung *= ETA
    return found


def metric_of(spec: RunSpec) -> str:
    """The validation metric that selects on the run's task."""
    return find("task", spec.task, tuple(Path(path) for path in spec.paths)).card.selection


def given_up(spec: RunSpec, root: Path) -> str:
    """Why the trial that ``spec`` is was given up; empty where it was not, or is no trial."""
    trial = spec.origin.get("trial")
    tree = trial and read(folder_of(root, trial["search"]) / f"pruned-{trial['number']}.json")
    return f"given up after {tree['epoch'] + 1} epochs: {tree['why']}" if tree else ""


def judged(spec: RunSpec, root: Path, report: Callable[[dict], None]) -> Callable[[dict], None]:
    """``report``, which for a trial of a search that prunes also raises Pruned at a rung from which it does not go on.

    A trial that is resumed is not judged again at rungs that it has passed.
    """
    trial = spec.origin.get("trial", {})
    if not trial.get("rungs"):
        return report
    metric, start, run, search = metric_of(spec), time.perf_counter(), Runs(root).folder(spec), folder_of(root, trial["search"])
    ahead = {rung - 1 for rung in trial["rungs"] if value_at(run, rung - 1, metric) is None}

    def judging(event: dict) -> None:
        report(event)
        epoch = event.get("epoch")
        own = value_at(run, epoch, metric) if epoch in ahead else None
        if own is None:
            return
        ahead.discard(epoch)
        place, count = _place(own, search, root, epoch, metric)
        kept = max(1, count // ETA)
        if place > kept:
            why = f"{metric} {own:.4g} is not among the best {kept} of {count} trials"
            tree = {"number": trial["number"], "key": spec.key, "epoch": epoch, "value": own if math.isfinite(own) else None, "why": why}
            tree["wall_s"] = round(time.perf_counter() - start, 3)
            write_once(search / f"pruned-{trial['number']}.json", tree)
            raise Pruned(f"given up after {epoch + 1} epochs: {why}")

    return judging


def value_at(run: Path, epoch: int, metric: str) -> float | None:
    """The validation metric at the end of ``epoch`` (from 0) by the curves in a run's folder; None where they do not have it (yet)."""
    return next((row.get(f"valid/{metric}") for row in curves(run) if row.get("epoch") == epoch), None)


def curves(run: Path, seen: int = 0) -> list[dict[str, Any]]:
    """The epochs that a run has written into its folder after the first ``seen``; a line that is being written is passed over."""
    rows = []
    with contextlib.suppress(OSError):
        for line in (run / "curves.jsonl").read_text(encoding="utf-8").splitlines()[seen:]:
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def _place(own: float, folder: Path, root: Path, epoch: int, metric: str) -> tuple[int, int]:
    """(place of ``own`` among the values of a search's trials at ``epoch``, 1 for the best; their number).

    Trials with the same parameters share a run and count once. A value that is not finite comes after all others.
    """
    keys = {str((read(file) or {}).get("key")) for file in folder.glob("trial-*.json")}
    values = [value for key in keys if (value := value_at(root / key, epoch, metric)) is not None]
    finite = [value for value in values if math.isfinite(value)]
    ahead = sum(better(metric, value, own) for value in finite) if math.isfinite(own) else len(finite)
    return ahead + 1, len(values)
