"""The stages of an attempt, each of which hands on what the next needs: load, train, select, evaluate, keep."""

from __future__ import annotations

import io
import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.config import RunSpec
from elboard.bench.errors import NonFiniteLoss, UserError
from elboard.bench.journal import Journal
from elboard.bench.registry import find
from elboard.bench.runs import Runs

if TYPE_CHECKING:
    from elboard.bench.cost import Meter
    from elboard.bench.evidence import Scores
    from elboard.bench.training import Training


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


def load_trained(spec: RunSpec, root: Path, loaded: dict[str, Any] | None = None) -> Any:
    """The method of a finished run with its final weights, in evaluation mode. Data that are ``loaded`` are not read again.

    Raises UserError if there is no final checkpoint.
    """
    import torch

    file = Runs(root).weights(spec)
    if not file.exists():
        raise UserError(f"{file}: no final checkpoint; run `elboard run {spec.task} {spec.method} --seed {spec.seed}` first")
    method = built(spec, root, {} if loaded is None else loaded).method
    method.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state"])
    method.progress = 1.0
    return method.eval()


@dataclass(frozen=True)
class Loaded:
    task: Any
    data: Any
    method: Any


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
    found = Loaded(*build(spec, bases, loaded.get(same)))
    loaded[same] = found.data
    return found


def load(spec: RunSpec, runs: Runs, journal: Journal) -> Loaded:
    """The data, and the method as it was built; its loss in parts after attempts that ran out of memory."""
    import torch

    from elboard.bench.parts import may_split, parts_after

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(spec.config["trainer"]["threads"])
    journal.enter("load")
    loaded = built(spec, runs.root, {})
    journal.stage = "build"
    loaded.task.device = pick_device(spec.config["trainer"])
    loaded.method.parts = parts_after(runs.attempts(spec)) if may_split(loaded.method) else 1
    if loaded.method.parts > 1:
        journal.line(f"out of memory before: the loss of a batch in {loaded.method.parts} parts")
    return loaded


def train(spec: RunSpec, runs: Runs, loaded: Loaded, meter: Meter, journal: Journal) -> tuple[Training, dict[str, float]]:
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
    for base in method.all_bases():
        base.to(loaded.task.device)
    method.fit(data.for_training(), training)
    if not training.global_zero:
        raise SystemExit(0)
    return training, cost | {"train_s": round(time.perf_counter() - start, 3)}


def select(spec: RunSpec, loaded: Loaded, training: Training) -> dict[str, Any]:
    """The selection metric on validation data of the weights that were kept: what a search over options goes by."""
    from elboard.bench.training import evaluating

    task, method, name = loaded.task, loaded.method, loaded.task.card.selection
    for row in training.history:
        if row["epoch"] == training.chosen_epoch and f"valid/{name}" in row:
            return {"metric": name, "value": row[f"valid/{name}"]}
    method.to(task.device)
    seed_everything(spec.seed + 1)
    with evaluating(method):
        value = task.validate(method, loaded.data).get(name)
    return {} if value is None else {"metric": name, "value": float(value)}


def evaluate(spec: RunSpec, loaded: Loaded, training: Training, journal: Journal) -> Scores:
    """The task's scores of the method on test data. Raises NonFiniteLoss for one that is no finite number."""
    import numpy as np

    from elboard.bench.evidence import scored
    from elboard.bench.training import evaluating

    journal.enter("evaluate")
    loaded.method.to(loaded.task.device)
    seed_everything(spec.seed + 1)
    with evaluating(loaded.method):
        scores = scored(type(loaded.task), loaded.task.observe(loaded.method, loaded.data, training.history))
    bad = [name for name, value in scores.metrics.items() if not np.isfinite(value)]
    if bad:
        raise NonFiniteLoss(f"metric {bad[0]} is {scores.metrics[bad[0]]}")
    return scores


def keep(spec: RunSpec, folder: Path, method: Any, scores: Scores) -> dict[str, list[str]]:
    """Write evidence, pictures and the final checkpoint; the files by kind, relative to the run's ``folder``."""
    import numpy as np
    import torch
    from PIL import Image

    from elboard.bench.training import save_atomically

    files: dict[str, list[str]] = {"evidence": [], "pictures": []}
    if scores.evidence:
        content = io.BytesIO()  # given the temporary file's name, NumPy would add a suffix to it
        np.savez_compressed(content, **scores.evidence)
        save_atomically(folder / "evidence" / "evidence.npz", lambda path: path.write_bytes(content.getvalue()))
        files["evidence"].append("evidence/evidence.npz")
    for name, picture in scores.pictures.items():
        image = Image.fromarray(np.asarray(picture, dtype=np.uint8))
        save_atomically(folder / "pictures" / f"{name}.png", lambda path, image=image: image.save(path, format="PNG"))
        files["pictures"].append(f"pictures/{name}.png")
    state = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}
    save_atomically(folder / "checkpoints" / "final.ckpt", lambda path: torch.save({"state": state, "key": spec.key}, path))
    return files
