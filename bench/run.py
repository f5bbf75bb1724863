"""``execute(run) -> Record``: one run from its specification to its record, the same under every engine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import NonFiniteLoss, UserError
from elboard.bench.record import Record
from elboard.bench.registry import find
from elboard.bench.stopping import Preempted, Pruned

Report = Callable[[dict], None]


def root_folder(out: str | Path | None = None) -> Path:
    """Where runs lie: ``out``, else the environment's ``ELBOARD_HOME``, else ``runs`` in the current folder."""
    return Path(out or os.environ.get("ELBOARD_HOME") or "runs")


def finished(spec: RunSpec, root: Path) -> Record | None:
    """The newest record of a completed attempt at ``spec`` under ``root``, or None. Invalid files are passed over."""
    best = records.effective(records.attempts(root / spec.key))
    return best if best is not None and best.status == "done" else None


def execute(spec: RunSpec, root: Path, tracker: str = "none", report: Report | None = None) -> Record:
    """Run ``spec`` in ``root/<key>/`` and return its record, which is also written there.

    Trains (or resumes from the last checkpoint), evaluates, writes evidence, pictures, the final checkpoint and the record. For a post-hoc
    method the run it starts from is executed first unless it is there. An exception becomes a failed record with its class.

    Args:
        tracker: none, csv or wandb.
        report: called with ``{"event": "stage" | "epoch", ...}`` for a live display.

    Raises:
        UserError: a mistake in the specification, or a folder that cannot be written.
        KeyboardInterrupt: passed on after the record of the killed attempt is written.
        Preempted, Pruned: the run was asked to stop and saved a checkpoint, or given up by a search (:mod:`elboard.bench.stopping`); no
        record.
    """
    return _Attempt(spec, root, tracker, report or (lambda event: None)).run()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also formats a stack trace for each kind of absent device: a millisecond
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def pick_device(trainer: dict) -> Any:
    """The device on which methods that do not train by gradients work, from the ``trainer`` section."""
    import torch

    wanted = trainer["accelerator"]
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def build(spec: RunSpec, bases: Any = None, data: Any = None) -> tuple[Any, Any, Any]:
    """Task, data and method of ``spec``, freshly seeded: ``(task, data, method)``. ``data`` is used instead of loading them again."""
    paths = tuple(Path(path) for path in spec.paths)
    task_class, method_class = find("task", spec.task, paths).load(), find("method", spec.method, paths).load()
    seed_everything(spec.seed)
    task = task_class(task_class.Config(**spec.config["task"]), spec.budget, spec.seed)
    if data is None:
        data = task.load()
    seed_everything(spec.seed)
    method = method_class(method_class.Config(**spec.config["method"]), data.spec, bases)
    method.seed = spec.seed
    method.prepare(data.for_training())
    return task, data, method


def load_trained(spec: RunSpec, root: Path, data: Any = None) -> Any:
    """The method of a finished run with its final weights, in evaluation mode. Raises UserError if there is no final checkpoint."""
    import torch

    file = root / spec.key / "checkpoints" / "final.ckpt"
    if not file.exists():
        raise UserError(f"{file}: no final checkpoint; run `elboard run {spec.task} {spec.method} --seed {spec.seed}` first")
    _, _, method = build(spec, load_bases(spec, root, data), data)
    method.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state"])
    method.progress = 1.0
    return method.eval()


def load_bases(spec: RunSpec, root: Path, data: Any = None) -> dict[str, Any]:
    """The trained methods that ``spec`` starts from, by role: one, or a list where its card says ``count``. ``data`` are its task's."""
    said = find("method", spec.method, tuple(map(Path, spec.paths))).card.bases
    found = {}
    for role, runs in spec.bases.items():
        same = runs[0].task == spec.task and runs[0].config["task"] == spec.config["task"]
        methods = [load_trained(run, root, data if same else None) for run in runs]
        found[role] = methods if "count" in said[role] else methods[0]
    return found


def rank_of(spec: RunSpec) -> int:
    """Rank of this process among those that train ``spec`` together, by Lightning, torchrun or Slurm; 0 for a run of one process."""
    trainer = spec.config["trainer"]
    if trainer["devices"] == "1" and trainer["num_nodes"] == 1:
        return 0
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


class _Log:
    """``log.txt`` and ``curves.jsonl`` of a run's folder; one attempt writes at a time, of processes that train together the first alone
    (the others have logs of their own)."""

    def __init__(self, folder: Path, rank: int = 0):
        self.folder, self.lines = folder, []
        name, curves = ("log.txt", folder / "curves.jsonl") if rank == 0 else (f"log.rank{rank}.txt", Path(os.devnull))
        self.file = open(folder / name, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)
        self.curves = open(curves, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def line(self, text: str) -> None:
        stamped = [f"{records.now()} {line}" for line in text.rstrip().splitlines()]
        self.lines += stamped
        self.file.write("\n".join(stamped) + "\n")

    def epoch(self, row: dict) -> None:
        self.curves.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self.file.close()
        self.curves.close()


class _Attempt:
    """One attempt at a run."""

    def __init__(self, spec: RunSpec, root: Path, tracker: str, report: Report):
        self.rank = rank_of(spec)
        self.spec, self.root, self.report = spec, root, report
        self.tracker_name = tracker if self.rank == 0 else "none"
        self.folder = root / spec.key
        self.stage = "start"
        self.started = records.now()
        self.fields: dict[str, Any] = {}

    def run(self) -> Record:
        spec = self.spec
        broken = next((record for record in map(self._base, spec.starts_from()) if record.status != "done"), None)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            log = _Log(self.folder, self.rank)
            if self.rank == 0:
                records.write_text_atomically(self.folder / "config.yaml", _yaml(spec.to_dict()))
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror or error}); choose another folder with --out") from None
        with contextlib.closing(log), _collected_warnings(log) as heard:
            if broken is not None:
                return self._write(log, heard, failure=("infra", f"the run {broken.key} that it starts from failed"))
            try:
                log.line(f"{spec.method} on {spec.task}, budget {spec.budget}, seed {spec.seed}, key {spec.key}")
                self._work(log)
            except (Preempted, Pruned) as stop:
                log.line(str(stop) or "asked to stop; goes on from the checkpoint")
                raise
            except (KeyboardInterrupt, SystemExit):
                if self.rank > 0:
                    raise  # a process of a distributed run whose work is done
                log.line("stopped by a signal")
                self._write(log, heard, failure=("killed", "stopped by a signal"))
                raise KeyboardInterrupt from None
            except Exception as error:
                if isinstance(error, UserError) and self.stage != "load":
                    raise
                log.line(traceback.format_exc())
                if self.rank > 0:
                    raise SystemExit(1) from None  # the first process hears of it and writes the record
                return self._write(log, heard, failure=(self._class(error), f"{type(error).__name__}: {error}".splitlines()[0]))
            return self._write(log, heard)

    def _base(self, spec: RunSpec) -> Record:
        done = finished(spec, self.root)
        if done and (self.root / done.key / "checkpoints" / "final.ckpt").exists():
            return done
        return execute(spec, self.root, "none", self.report)

    def _enter(self, stage: str, log: _Log) -> None:
        self.stage = stage
        log.line(stage)
        self.report({"event": "stage", "stage": stage})

    def _work(self, log: _Log) -> None:
        import torch

        from elboard.bench import trackers
        from elboard.bench.batches import Batches
        from elboard.bench.cost import Meter, count_parameters, flops_per_example, together
        from elboard.bench.parts import may_split, parts_after
        from elboard.bench.training import Training

        spec = self.spec
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_num_threads(spec.config["trainer"]["threads"])
        meter = Meter()
        self._enter("load", log)
        task, data, method = build(spec, load_bases(spec, self.root))
        task.device = pick_device(spec.config["trainer"])
        self.stage = "build"
        method.parts = parts_after(records.attempts(self.folder)) if may_split(method) else 1
        if method.parts > 1:
            log.line(f"out of memory before: the loss of a batch in {method.parts} parts")
        tracker = trackers.make(self.tracker_name, spec, self.folder)
        self.tracker = tracker

        def report(event: dict) -> None:
            if event["event"] == "epoch":
                row = {name: value for name, value in event.items() if name not in ("event", "epochs")}
                log.epoch(row)
                tracker.epoch(row)
            self.report(event)

        training = Training(task, data, spec.config, spec.seed, self.folder, report)
        training.base_folders = {role: [self.root / run.key for run in runs] for role, runs in spec.bases.items()}
        self._enter("train", log)
        cost: dict[str, float] = {"parameters": count_parameters(method)}
        flops = flops_per_example(method, next(iter(Batches(data.train, spec.config["train"]["batch_size"], spec.seed, data.on_batch))))
        if flops is not None:
            cost["flops_per_example"] = flops
        seed_everything(spec.seed)
        start = time.perf_counter()
        training.spent = lambda: together(training.before, {**meter.read(), "train_s": time.perf_counter() - start})
        for base in method.all_bases():
            base.to(task.device)
        method.fit(data.for_training(), training)
        if not training.global_zero:
            raise SystemExit(0)
        cost["train_s"] = round(time.perf_counter() - start, 3)
        self.selected = self._selection(method, task, data, training)
        scores = self._evaluate(method, task, data, training, cost, log)
        self._keep(method, scores, task, training, together(training.before, cost | meter.read()))

    def _selection(self, method: Any, task: Any, data: Any, training: Any) -> dict[str, Any]:
        """The selection metric on validation data of the weights that were kept: what a search over options goes by."""
        from elboard.bench.training import evaluating

        name = task.card.selection
        for row in training.history:
            if row["epoch"] == training.chosen_epoch and f"valid/{name}" in row:
                return {"metric": name, "value": row[f"valid/{name}"]}
        method.to(task.device)
        seed_everything(self.spec.seed + 1)
        with evaluating(method):
            value = task.validate(method, data).get(name)
        return {} if value is None else {"metric": name, "value": float(value)}

    def _evaluate(self, method: Any, task: Any, data: Any, training: Any, cost: dict, log: _Log) -> Any:
        from elboard.bench.training import evaluating

        self._enter("evaluate", log)
        start = time.perf_counter()
        method.to(task.device)
        seed_everything(self.spec.seed + 1)
        with evaluating(method):
            scores = task.evaluate(method, data, training.history)
        cost["evaluate_s"] = round(time.perf_counter() - start, 3)
        return scores

    def _keep(self, method: Any, scores: Any, task: Any, training: Any, cost: dict) -> None:
        """Check the scores, write evidence, pictures and the final checkpoint, and note what the record will say."""
        import numpy as np
        import torch
        from PIL import Image

        from elboard.bench.training import save_atomically

        metrics = {name: float(value) for name, value in scores.metrics.items()}
        bad = [name for name, value in metrics.items() if not np.isfinite(value)]
        if bad:
            raise NonFiniteLoss(f"metric {bad[0]} is {metrics[bad[0]]}")
        files: dict[str, list[str]] = {"evidence": [], "pictures": []}
        if scores.evidence:
            _save_arrays(self.folder / "evidence" / "evidence.npz", scores.evidence)
            files["evidence"].append("evidence/evidence.npz")
        for name, picture in scores.pictures.items():
            image = Image.fromarray(np.asarray(picture, dtype=np.uint8))
            save_atomically(self.folder / "pictures" / f"{name}.png", lambda path, image=image: image.save(path, format="PNG"))
            files["pictures"].append(f"pictures/{name}.png")
        state = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}
        save_atomically(self.folder / "checkpoints" / "final.ckpt", lambda path: torch.save({"state": state, "key": self.spec.key}, path))
        training.last.unlink(missing_ok=True)
        notes = {**self.spec.origin, **({"selection": self.selected} if self.selected else {})}
        if method.parts > 1:
            notes["parts"] = method.parts
        if training.chosen_epoch is not None:
            notes["chosen_epoch"] = training.chosen_epoch
        self.fields = {"metrics": metrics, "primary": _primary(task.card.primary, metrics), "cost": cost, "files": files, "notes": notes}

    def _class(self, error: Exception) -> str:
        import torch

        if isinstance(error, NonFiniteLoss):
            return "nan"
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            return "oom"
        return "infra" if isinstance(error, OSError | UserError) else "bug"

    def _write(self, log: _Log, heard: list[str], failure: tuple[str, str] | None = None) -> Record:
        from elboard.bench.provenance import provenance

        attempt = records.new_attempt()
        said = {} if failure is None else {"class": failure[0], "message": failure[1], "log": "\n".join(log.lines[-20:])}
        record = Record(
            key=self.spec.key,
            attempt=attempt,
            status="failed" if failure else "done",
            spec=replace(self.spec, origin={}).to_dict(),
            failure=said,
            started=self.started,
            ended=max(self.started, records.now()),  # clocks step back
            provenance=provenance(_checksums(self.spec)),
            warnings=sorted(set(heard))[:20],
            **({"notes": self.spec.origin} if failure else self.fields),
        )
        path = self.folder / "attempts" / f"{attempt}.json"
        record = records.write(record, path)
        if failure is None:
            records.read(path)  # what was written must be valid: an out-of-range metric is a bug to hear of now
        log.line(f"{record.status}{': ' + failure[1] if failure else ''}")
        if hasattr(self, "tracker"):
            self.tracker.finish(record)
        return record


def _primary(wanted: str, metrics: dict[str, float]) -> str:
    """The key of the card's primary metric, which may leave out the parameters (``nll`` for ``nll[k=500]``)."""
    from elboard.bench.metrics.conventions import bare

    found = [key for key in metrics if wanted in (key, bare(key))]
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


def _save_arrays(path: Path, arrays: dict) -> None:
    import numpy as np

    from elboard.bench.training import save_atomically

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # given a name, NumPy would add a suffix to it
            np.savez_compressed(file, **arrays)

    save_atomically(path, save)


@contextlib.contextmanager
def _collected_warnings(log: _Log) -> Iterator[list[str]]:
    """Warnings go to the log and the record instead of the screen."""
    heard: list[str] = []

    def show(message: Any, category: type, filename: str, lineno: int, *rest: Any) -> None:
        text = f"{category.__name__}: {message}".splitlines()[0]
        if text not in heard:
            heard.append(text)
            log.line(text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield heard


def _yaml(tree: dict) -> str:
    import yaml

    return yaml.dump(json.loads(json.dumps(tree)), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
