"""``execute(run) -> Record``: one run from its specification to its record, the same under every engine.

An attempt has stages, each of which hands on what the next needs: load, train, select, evaluate, keep. Test data are read in evaluate.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import NonFiniteLoss, UserError
from elboard.bench.failures import by_signal, class_of, message_of
from elboard.bench.folders import named_by, path_of
from elboard.bench.journal import Journal, Report, check_tracker
from elboard.bench.keeping import admitted, check_card, checksums, keep, no_mistake
from elboard.bench.record import Record
from elboard.bench.registry import Entry, find, require
from elboard.bench.runs import EPOCHS, LAST, Runs, again
from elboard.bench.stopping import Preempted, Pruned

if TYPE_CHECKING:
    from elboard.bench.cost import Meter
    from elboard.bench.evidence import Scores
    from elboard.bench.training import Training


def root_folder(out: str | Path | None = None) -> Path:
    """Where runs lie: ``out``, else the environment's ``ELBOARD_HOME``, else ``runs`` in the current folder."""
    return path_of(out) if out else named_by("ELBOARD_HOME") or Path("runs")


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
    check_tracker(tracker)
    runs, report, rank, started = Runs(root), report or (lambda event: None), rank_of(spec), records.now()
    bases = ((base, runs.trained(base) or execute(base, root, "none", report)) for base in spec.starts_from())
    broken = next((base for base, record in bases if record.status != "done"), None)
    journal = _prepare(spec, runs.folder(spec), rank, report)

    def end(fields: dict[str, Any], **failure: str) -> Record:
        return _record(spec, runs.folder(spec), journal, started, fields, failure)

    with journal.open(), _tidied(runs.folder(spec), rank):
        if broken is not None:
            return end({}, **{"class": "infra", "message": f"the run {broken.key} that it starts from failed"})
        try:
            journal.line(f"{spec.method} on {spec.task}, budget {spec.budget}, seed {spec.seed}, key {spec.key}")
            fields = _work(spec, runs, tracker if rank == 0 else "none", journal)
        except (Preempted, Pruned) as stop:
            journal.stopped(str(stop) or "asked to stop; goes on from the checkpoint", isinstance(stop, Preempted))
            raise
        except BaseException as error:
            if isinstance(error, UserError) and journal.stage != "load" or isinstance(error, SystemExit) and rank > 0:
                raise  # also in a process of a distributed run whose work is done
            if by_signal(error):
                journal.line("stopped by a signal")
                end({}, **{"class": "killed", "message": "stopped by a signal"})
                raise KeyboardInterrupt from None
            journal.line(traceback.format_exc())
            if rank > 0:
                raise SystemExit(1) from None  # the first process hears of it and writes the record
            return end({}, **{"class": class_of(error), "message": message_of(error, spec)})
        try:
            return end(fields)
        except ValueError as error:
            return end({}, **{"class": "bug", "message": f"no record can say what came of it: {error}"})


def _prepare(spec: RunSpec, folder: Path, rank: int, report: Report) -> Journal:
    """The run's folder, with its specification and a journal."""
    import yaml

    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder, rank, report)
        if rank == 0:
            dumper, plain = getattr(yaml, "CSafeDumper", yaml.SafeDumper), json.loads(json.dumps(spec.to_dict()))
            records.write_text_atomically(folder / "config.yaml", yaml.dump(plain, Dumper=dumper, sort_keys=False))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder with --out") from None
    return journal


@contextlib.contextmanager
def _tidied(folder: Path, rank: int) -> Iterator[None]:
    """Leaves no weights of epochs in the run's ``folder``, unless there is a checkpoint from which the next attempt goes on."""
    try:
        yield
    finally:
        if rank == 0 and not (folder / LAST).exists():
            shutil.rmtree(folder / EPOCHS, ignore_errors=True)


def _work(spec: RunSpec, runs: Runs, tracker: str, journal: Journal) -> dict[str, Any]:
    """All stages, one after another; the fields of the record that come of them."""
    from elboard.bench.cost import Meter, together
    from elboard.bench.training import Unfit

    folder, meter = runs.folder(spec), Meter()
    loaded = _load(spec, runs, journal)
    journal.begin(tracker, spec, folder)
    try:
        training, cost = _train(spec, runs, loaded, meter, journal)
    except Unfit as unfit:
        warnings.warn(str(unfit), stacklevel=1)
        loaded = _load(spec, runs, journal)
        training, cost = _train(spec, runs, loaded, meter, journal)
    selection = _select(spec, loaded, training)
    start = time.perf_counter()
    scores = _evaluate(spec, loaded, training, journal)
    primary = admitted(loaded.task.card.primary, scores)  # before anything of it is written
    cost = together(training.before, cost | {"evaluate_s": round(time.perf_counter() - start, 3)} | meter.read())
    files = keep(spec, folder, loaded.method, scores)
    training.last.unlink(missing_ok=True)
    notes = spec.origin | ({"selection": selection} if selection else {})
    if loaded.method.parts > 1:
        notes["parts"] = loaded.method.parts
    if training.chosen_epoch is not None:
        notes["chosen_epoch"] = training.chosen_epoch
    return {"metrics": scores.metrics, "primary": primary, "cost": cost, "files": files, "notes": notes}


def _load(spec: RunSpec, runs: Runs, journal: Journal) -> Loaded:
    """The data, and the method as it was built; its loss in parts after attempts that ran out of memory."""
    import torch

    from elboard.bench.method import may_split

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(spec.config["trainer"]["threads"])
    check_card(load_classes(spec)[0])  # what is not as it must be is no failure to load data
    journal.enter("load")
    loaded = built(spec, runs.root, {})
    journal.stage = "build"
    loaded.task.device = pick_device(spec.config["trainer"])
    loaded.method.parts = runs.parts(spec) if may_split(loaded.method) else 1
    if loaded.method.parts > 1:
        journal.line(f"out of memory before: the loss of a batch in {loaded.method.parts} parts")
    return loaded


def _train(spec: RunSpec, runs: Runs, loaded: Loaded, meter: Meter, journal: Journal) -> tuple[Training, dict[str, float]]:
    """What came of training, and its cost. Raises SystemExit in all but the first of the processes that train together."""
    from elboard.bench.cost import count_parameters, flops_per_example, together
    from elboard.bench.training import Training

    data, method = loaded.data, loaded.method
    training = Training(loaded.task, data, spec.config, spec.seed, runs.folder(spec), journal.event)
    training.base_folders = {role: list(map(runs.folder, of)) for role, of in spec.bases.items()}
    journal.enter("train")
    cost: dict[str, float] = {"parameters": count_parameters(method)}
    flops = flops_per_example(method, next(iter(loaded.task.batches(data, spec.config["train"], spec.seed))))
    if flops is not None:
        cost["flops_per_example"] = flops
    seed_everything(spec.seed)
    start = time.perf_counter()
    training.spent = lambda: together(training.before, {**meter.read(), "train_s": time.perf_counter() - start})
    method.place_bases(loaded.task.device)
    method.fit(data, training)
    if not training.global_zero:
        raise SystemExit(0)
    return training, cost | {"train_s": round(time.perf_counter() - start, 3)}


def _select(spec: RunSpec, loaded: Loaded, training: Training) -> dict[str, Any]:
    """The selection metric on validation data of the weights that were kept: what a search over options goes by. Without a value where
    that is no number."""
    from elboard.bench.epochs import evaluating

    task, method, name = loaded.task, loaded.method, loaded.task.card.selection
    kept = [row for row in training.history if row["epoch"] == training.chosen_epoch]
    found = next((row[f"valid/{name}"] for row in kept if f"valid/{name}" in row), None)
    if found is None:
        method.to(task.device)
        seed_everything(spec.seed + 1)
        with evaluating(method):
            found = task.validate(method, loaded.data).get(name)
    if found is None:
        return {}
    return {"metric": name} | ({"value": float(found)} if math.isfinite(found) else {})


def _evaluate(spec: RunSpec, loaded: Loaded, training: Training, journal: Journal) -> Scores:
    """The task's scores of the method on test data. Raises NonFiniteLoss for one that is no finite number."""
    import numpy as np

    from elboard.bench.epochs import evaluating
    from elboard.bench.evidence import scored

    task, data, method = loaded
    journal.stage = "load"  # whose errors are of the data
    test = task.load_test(data)
    journal.enter("evaluate")
    method.to(task.device)
    with no_mistake():
        history = training.tracked(method, test)
        journal.tracked(history)
        seed_everything(spec.seed + 1)
        with evaluating(method):
            scores = scored(type(task), task.observe(method, data, test, history))
    bad = [name for name, value in scores.metrics.items() if not np.isfinite(value)]
    if bad:
        raise NonFiniteLoss(f"metric {bad[0]} is {scores.metrics[bad[0]]}")
    return scores


def _record(spec: RunSpec, folder: Path, journal: Journal, started: str, fields: dict[str, Any], failure: dict[str, str]) -> Record:
    """Write the record of an attempt that ``started`` then, with what its stages gave or with its failure."""
    from elboard.bench.provenance import hardware, revision, versions

    where = {"versions": versions(), "source": revision(), "hardware": hardware()}
    record = records.leave(
        spec,
        folder,
        "failed" if failure else "done",
        failure=failure and failure | {"log": "\n".join(journal.lines[-20:])},
        started=started,
        ended=max(started, records.now()),  # clocks step back
        provenance=where | {"data": checksums(spec), "argv0": Path(sys.argv[0]).name},
        warnings=sorted(journal.heard)[:20],
        **({"notes": spec.origin} | fields),
    )
    journal.finish(record)
    return record


# --- tasks and methods of a run, which are built outside of runs too ---------------------------------------


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import numpy as np

    from elboard.bench.epochs import seed_torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    seed_torch(seed)


def pick_device(trainer: dict) -> Any:
    """The device on which methods that do not train by gradients work, from the ``trainer`` section."""
    import torch

    wanted = trainer["accelerator"]
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class Loaded(NamedTuple):
    """A task, those of its data that methods may see, and a method built for them."""

    task: Any
    data: Any
    method: Any


def load_classes(spec: RunSpec) -> tuple[Entry, Entry]:
    """Task and method of ``spec``, imported. Raises UserError where their code, if it lies outside the package, is not that of its key."""
    entries = find("task", spec.task, paths := tuple(map(Path, spec.paths))), find("method", spec.method, paths)
    for entry in entries:
        entry.load()
        if entry.code() != spec.code.get(entry.kind, "") or entry.edited():
            raise UserError(f"{entry.file}: it, or what it imports, was edited since the run was named: give the command again")
    return entries


def build(spec: RunSpec, bases: Any = None, data: Any = None) -> Loaded:
    """Task, data and method of ``spec``, freshly seeded. ``data`` is used instead of loading them again."""
    paths = tuple(Path(path) for path in spec.paths)
    task_class, method_class = find("task", spec.task, paths).load(), find("method", spec.method, paths).load()
    seed_everything(spec.seed)
    task = task_class(task_class.Config(**spec.config["task"]), spec.budget, spec.seed)
    if data is None:
        task.fetch()
        data = task.load_train()
    seed_everything(spec.seed)
    method = method_class(method_class.Config(**spec.config["method"]), data.spec, bases)
    method.seed = spec.seed
    method.prepare(data)
    return Loaded(task, data, method)


def load_trained(spec: RunSpec, root: Path, loaded: dict[str, Any] | None = None) -> Any:
    """The method of a finished run with its final weights, in evaluation mode. Data that are ``loaded`` are not read again.

    Raises UserError if there is no final checkpoint, or one that cannot be read or is of other code.
    """
    import torch

    file = Runs(root).weights(spec)
    if not file.exists():
        raise UserError(f"{file}: no final checkpoint; run `{again(spec, root)}` first")
    method = built(spec, root, {} if loaded is None else loaded).method
    try:
        method.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state"])
    except Exception as error:  # a damaged file raises what its bytes happen to mean
        said = f"{file}: not the weights of {spec.method} ({type(error).__name__})"
        raise UserError(f"{said}; make them again with `{again(spec, root)} --force`") from None
    method.progress = 1.0
    return method.eval()


def built(spec: RunSpec, root: Path, loaded: dict[str, Any]) -> Loaded:
    """:func:`build` with the trained methods that ``spec`` starts from, by role: one, or a list where its card says ``count``.

    Of the runs that share a task, its options and a seed the data are read once, and kept in ``loaded``.
    """
    said = find("method", spec.method, tuple(map(Path, spec.paths))).card.bases
    bases = {}
    for role, runs in spec.bases.items():
        methods = [load_trained(run, root, loaded) for run in runs]
        bases[role] = methods if "count" in said[role] else methods[0]
    same = json.dumps([spec.task, spec.budget, spec.seed, spec.config["task"]])
    found = build(spec, bases, loaded.get(same))
    loaded[same] = found.data
    return found
