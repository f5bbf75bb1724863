"""``execute(run) -> Record``: one run from its specification to its record, the same under every engine."""

from __future__ import annotations

import json
import os
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench import stages
from elboard.bench.config import RunSpec
from elboard.bench.errors import NonFiniteLoss, UserError
from elboard.bench.journal import Journal, Report
from elboard.bench.record import Record
from elboard.bench.registry import find, require
from elboard.bench.runs import Runs
from elboard.bench.stopping import Preempted, Pruned


def root_folder(out: str | Path | None = None) -> Path:
    """Where runs lie: ``out``, else the environment's ``ELBOARD_HOME``, else ``runs`` in the current folder."""
    return Path(out or os.environ.get("ELBOARD_HOME") or "runs")


def rank_of(spec: RunSpec) -> int:
    """Rank of this process among those that train ``spec`` together, by Lightning, torchrun or Slurm; 0 for a run of one process."""
    trainer = spec.config["trainer"]
    if trainer["devices"] == "1" and trainer["num_nodes"] == 1:
        return 0
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def execute(spec: RunSpec, root: Path, tracker: str = "none", report: Report | None = None) -> Record:
    """Run ``spec`` in ``root/<key>/`` and return its record, which is also written there.

    Trains (or resumes from the last checkpoint), evaluates, writes evidence, pictures, the final checkpoint and the record. The runs that
    it starts from are executed first unless they are there. An exception becomes a failed record with its class.

    Args:
        tracker: none, csv or wandb.
        report: called with ``{"event": "stage" | "epoch", ...}`` for a live display.

    Raises:
        UserError: a mistake in the specification, what this machine lacks for it, or a folder that cannot be written.
        KeyboardInterrupt: passed on after the record of the killed attempt is written.
        Preempted, Pruned: the run was asked to stop and saved a checkpoint, or given up by a search (:mod:`elboard.bench.stopping`); no
        record.
    """
    require(spec.task, spec.method, tuple(map(Path, spec.paths)))
    report, rank, started = report or (lambda event: None), rank_of(spec), records.now()
    runs = Runs(root)
    bases = ((base, runs.trained(base) or execute(base, root, "none", report)) for base in spec.starts_from())
    broken = next((base for base, record in bases if record.status != "done"), None)
    journal = _prepare(spec, runs.folder(spec), rank, report)

    def end(fields: dict[str, Any], **failure: str) -> Record:
        return _record(spec, runs.folder(spec), journal, started, fields, failure)

    with journal.open():
        if broken is not None:
            return end({}, **{"class": "infra", "message": f"the run {broken.key} that it starts from failed"})
        try:
            journal.line(f"{spec.method} on {spec.task}, budget {spec.budget}, seed {spec.seed}, key {spec.key}")
            fields = _work(spec, runs, tracker if rank == 0 else "none", journal)
        except (Preempted, Pruned) as stop:
            journal.line(str(stop) or "asked to stop; goes on from the checkpoint")
            raise
        except (KeyboardInterrupt, SystemExit):
            if rank > 0:
                raise  # a process of a distributed run whose work is done
            journal.line("stopped by a signal")
            end({}, **{"class": "killed", "message": "stopped by a signal"})
            raise KeyboardInterrupt from None
        except Exception as error:
            if isinstance(error, UserError) and journal.stage != "load":
                raise
            journal.line(traceback.format_exc())
            if rank > 0:
                raise SystemExit(1) from None  # the first process hears of it and writes the record
            return end({}, **{"class": _class(error), "message": f"{type(error).__name__}: {error}".splitlines()[0]})
        return end(fields)


def _prepare(spec: RunSpec, folder: Path, rank: int, report: Report) -> Journal:
    """The run's folder, with its specification and a journal."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder, rank, report)
        if rank == 0:
            records.write_text_atomically(folder / "config.yaml", _yaml(spec.to_dict()))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder with --out") from None
    return journal


def _work(spec: RunSpec, runs: Runs, tracker: str, journal: Journal) -> dict[str, Any]:
    """All stages, one after another; the fields of the record that come of them."""
    from elboard.bench import trackers
    from elboard.bench.cost import Meter, together

    folder, meter = runs.folder(spec), Meter()
    loaded = stages.load(spec, runs, journal)
    journal.tracker = trackers.make(tracker, spec, folder)
    training, cost = stages.train(spec, runs, loaded, meter, journal)
    selection = stages.select(spec, loaded, training)
    start = time.perf_counter()
    scores = stages.evaluate(spec, loaded, training, journal)
    cost = together(training.before, cost | {"evaluate_s": round(time.perf_counter() - start, 3)} | meter.read())
    files = stages.keep(spec, folder, loaded.method, scores)
    training.last.unlink(missing_ok=True)
    notes = spec.origin | ({"selection": selection} if selection else {})
    if loaded.method.parts > 1:
        notes["parts"] = loaded.method.parts
    if training.chosen_epoch is not None:
        notes["chosen_epoch"] = training.chosen_epoch
    primary = _primary(loaded.task.card.primary, scores.metrics)
    return {"metrics": scores.metrics, "primary": primary, "cost": cost, "files": files, "notes": notes}


def _class(error: Exception) -> str:
    import torch

    if isinstance(error, NonFiniteLoss):
        return "nan"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        return "oom"
    return "infra" if isinstance(error, OSError | UserError) else "bug"


def _record(spec: RunSpec, folder: Path, journal: Journal, started: str, fields: dict[str, Any], failure: dict[str, str]) -> Record:
    """Write the record of an attempt that ``started`` then, with what its stages gave or with its failure."""
    from elboard.bench.provenance import provenance

    attempt = records.new_attempt()
    record = Record(
        key=spec.key,
        attempt=attempt,
        status="failed" if failure else "done",
        spec=replace(spec, origin={}).to_dict(),
        failure=failure and failure | {"log": "\n".join(journal.lines[-20:])},
        started=started,
        ended=max(started, records.now()),  # clocks step back
        provenance=provenance(_checksums(spec)),
        warnings=sorted(journal.heard)[:20],
        **({"notes": spec.origin} | fields),
    )
    path = folder / "attempts" / f"{attempt}.json"
    record = records.write(record, path)
    if not failure:
        records.read(path)  # what was written must be valid: an out-of-range metric is a bug to hear of now
    journal.finish(record)
    return record


def _primary(wanted: str, metrics: dict[str, float]) -> str:
    """The key of the card's primary metric, which may leave out the parameters (``nll`` for ``nll[k=500]``)."""
    from elboard.bench.metrics.conventions import bare, whole

    found = [key for key in whole(tuple(metrics)) if wanted in (key, bare(key))]
    if len(found) != 1:
        raise RuntimeError(f"the task's primary metric {wanted!r} is {len(found)} times among its metrics {sorted(metrics)}")
    return found[0]


def _checksums(spec: RunSpec) -> dict[str, str]:
    """Content checksums of the data sets that the task read, as its class reports them."""
    if spec.budget == "smoke":
        return {}
    entry = find("task", spec.task, tuple(Path(path) for path in spec.paths))
    try:
        return entry.load().checksums()
    except Exception as error:  # a failed download must not hide the failure being recorded
        return {"error": str(error).splitlines()[0]}


def _yaml(tree: dict) -> str:
    import yaml

    return yaml.dump(json.loads(json.dumps(tree)), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
