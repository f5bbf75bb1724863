"""Conformance: whether a method or a task keeps its contract. What ``elboard check`` tells authors, and what the tests ask of our own.

A *full* check runs a pair at the smoke budget, twice: of each method on its home task, and of each task with one method. A *light* one, of
every other pair that fits, takes one step on few examples and scores them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import os
import random
import re
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from elboard.bench.config import BUDGETS, RunSpec, resolve
from elboard.bench.errors import nearest
from elboard.bench.identity import IN_KEY
from elboard.bench.metrics.conventions import bare, better, in_range
from elboard.bench.options import out_of_bounds
from elboard.bench.registry import Entry, compatible, discover, find
from elboard.bench.run import build, execute, load_trained, seed_everything
from elboard.bench.runs import Runs
from elboard.bench.source import tree, ways_to_test_data

FEW = 16  # examples of each split in a light check
DRAWN, STEPS = {"evaluations", "sample_steps"}, 8  # options of methods: in how many steps a sample is drawn
MANY = 20  # from which on an option `n_*` is taken for a number of examples, by which arrays grow
KEPT = ("running_mean", "running_var", "num_batches_tracked")  # what batch normalisation may change in a loss
LOADED: dict[str, Any] = {}  # data of tasks at smoke, and methods that others start from, of a process

Found = Iterator[tuple[str, str]]


class Finding(NamedTuple):
    """What ``of`` (a name, or ``method on task``) does against the contract: the check that failed, and what was seen."""

    of: str
    check: str
    said: str


def collect(of: str, found: Found) -> list[Finding]:
    """The findings of one check; an exception, which anybody's code may raise, is the last of them."""
    kept = []
    try:
        for check, said in found:
            kept.append((check, said))
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        kept.append(("raises", f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"))
    return [Finding(of, check, " ".join(said.split())) for check, said in kept]


@cache
def thorough(paths: tuple[Path, ...] = ()) -> set[tuple[str, str]]:
    """The (task, method) pairs that are checked in full: a method's home, else the first task that it fits, of its own family if there is
    one; a task's method is one whose home it is, else one that starts from the fewest runs, of these the oldest, as the cheapest."""
    pairs, tasks = compatible(paths), discover("task", paths)
    cards = {name: entry.card for name, entry in discover("method", paths).items()}
    homes = sorted(pairs, key=lambda of: (of[0] != cards[of[1]].home, tasks[of[0]].card.family != cards[of[1]].family, of[0]))
    years = {name: (re.findall(r"\b\d{4}\b", card.cite) or ["9999"])[0] for name, card in cards.items()}
    costs = sorted(pairs, key=lambda of: (of[0] != cards[of[1]].home, len(cards[of[1]].bases), years[of[1]], of))
    return {*{method: (task, method) for task, method in reversed(homes)}.values(), *{pair[0]: pair for pair in reversed(costs)}.values()}


def specification(task: str, method: str, paths: tuple[Path, ...] = (), **options: Any) -> RunSpec:
    """The run of a check, in which a sample is drawn in few steps by what has such an option."""
    bases = find("method", method, paths).card.bases
    drawing = {"": method} | {f"bases.{role}.": words["method"] for role, words in bases.items()}
    few = {f"{of}{name}": STEPS for of, one in drawing.items() for name in DRAWN & {*_options(one, paths)}}
    return resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cpu"} | few | options, paths=paths)


def _options(method: str, paths: tuple[Path, ...]) -> list[str]:
    return [item.name for item in fields(find("method", method, paths).config_class())]


def fewer(task: str, paths: tuple[Path, ...] = ()) -> dict[str, int]:
    """Options by which ``task`` draws as few samples as there are examples in a light check."""
    drawn = find("task", task, paths).budgets()["smoke"].get("task", {}).get("samples", 0)
    return {"task.samples": FEW} if drawn > FEW else {}


def of_entry(entry: Entry, paths: tuple[Path, ...] = ()) -> Found:
    """The card, the docstring, the budgets and the options as they are read, against the code."""
    card, docstring = entry.card, ast.get_docstring(tree(entry.file)) or ""
    if not docstring or entry.kind == "method" and not card.paper and not re.search(r"\b(1[6-9]|20)\d\d\b", f"{card.cite} {docstring}"):
        yield "docstring", "does not say what it is, or of a method not whose, and of what year"
    if not any(card.name in pair for pair in compatible(paths)):
        yield "card", f"no {'task' if entry.kind == 'method' else 'method'} fits it"
    if entry.kind == "method":
        if card.home and (card.home, card.name) not in compatible(paths):
            yield "card", f"home {card.home!r} is no task that it fits"
        for words in card.bases.values():
            find("method", words["method"], paths)
        yield from (("test data", f"{way}: a method must not come to test data") for way in ways_to_test_data(entry.file))
        yield from _found(entry, paths)
    else:
        yield from _task(entry)
    yield from (("config", f"{name} is by default {wrong}") for name, wrong in out_of_bounds(entry.config_class()).items())
    real, read = asdict(entry.load().Config()), asdict(entry.config_class()())
    for name in sorted(name for name in {*real, *read} if real.get(name, "absent") != read.get(name, "absent")):
        yield "config", f"{name} is {read.get(name, 'absent')!r} in the source, {real.get(name, 'absent')!r} in the code"


def _found(entry: Entry, paths: tuple[Path, ...]) -> Found:
    """What the card says of how options were found, against the options and the tasks that there are."""
    card, known = entry.card, {item.name for item in fields(entry.config_class())}
    told = [("defaults", card.searched.options, card.searched.on)] if card.searched else []
    told += [(f"recipe {name}", recipe["set"], recipe.get("on", "")) for name, recipe in card.recipes.items()]
    for what, options, on in told:
        for name in options:
            if name not in known:
                yield "card", f"{what}: no option {name!r}: {nearest(name, known)}"
        if on:
            find("task", on.partition("@")[0], paths)


def _task(entry: Entry) -> Found:
    card, budgets, data = entry.card, entry.budgets(), entry.load().checksums()
    for key in (*card.metrics, card.primary, card.selection):
        in_range(key, 0.0)  # raises where a key has no convention
    for key in (card.primary, card.selection):
        better(key, 1.0, 0.0)
    if card.primary not in card.metrics:
        yield "card", f"primary {card.primary!r} is not among its metrics"
    if "smoke" not in budgets or not set(budgets) <= set(BUDGETS):
        yield "budgets", f"BUDGETS has {sorted(budgets)}: it needs smoke, and knows {', '.join(BUDGETS)} alone"
    for section in sorted({section for of in budgets.values() for section in of} - {*IN_KEY}):
        yield "budgets", f"unknown section {section!r}: {nearest(section, IN_KEY)}"
    if set(data) != set(card.data):
        yield "card", f"data is {sorted(card.data)}, checksums are of {sorted(data)}"


def of_pair(task: str, method: str, paths: tuple[Path, ...], root: Path) -> Found:
    """The check that a pair has, in full or light."""
    if (task, method) in thorough(paths):
        yield from full(specification(task, method, paths), root)
    else:
        light(specification(task, method, paths, **fewer(task, paths)))


def full(spec: RunSpec, root: Path) -> Found:
    """Run ``spec`` below ``root``, twice: same numbers, a valid record, evidence and a checkpoint that give them again, a pure loss."""
    expected = {**_state(), "the number of threads": spec.config["trainer"]["threads"], "whether algorithms are deterministic": True}
    first, now = execute(spec, root), _state()
    yield from (("global state", f"a run changes {name}") for name in now if now[name] != expected[name] and "random" not in name)
    if first.status != "done":
        yield "runs", first.failure["message"]
        return
    second, folder = execute(spec, root), Runs(root).folder(spec)
    yield from _same("deterministic", "the same seed gives", first.metrics, second.metrics)
    method = load_trained(spec, root)
    yield from _evidence(spec, folder, second, method)
    task, data, fresh = build(spec, method.bases)
    yield from _views(data)
    history = [json.loads(line) for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = {name.removeprefix("valid/") for line in history for name in line if name.startswith("valid/")}
    if seen and task.card.selection not in seen:
        yield "validate", f"gives {', '.join(sorted(seen))}, and not {task.card.selection}, by which the card says to select"
    again = _scores(spec, task, method, data, task.load_test(data), history)
    yield from _same("checkpoint", "the final checkpoint gives", first.metrics, again)
    yield from _loss(fresh, next(iter(task.batches(data, spec.config["train"], spec.seed))))


def _views(data: Any) -> Found:
    """Tensors through which a method could come to more than they show, as to the test part of a whole."""
    parts = ((f"{split}.{name}", value) for split in ("train", "valid", "shared") for name, value in getattr(data, split).items())
    for name, value in parts:
        if str(value.layout) == "torch.strided" and value.untyped_storage().nbytes() > value.numel() * value.element_size():
            yield "load_train", f"{name} is a view of more than it shows: clone it"


def light(spec: RunSpec) -> dict[str, float]:
    """Metrics after one step on few examples, as those that ``spec`` starts from have taken.

    Raises what the pair raises, and ValueError for metrics that no record could hold.
    """
    with stepped(spec) as (task, part, method, training):
        name = json.dumps(["test", spec.task, spec.budget, spec.seed, spec.config["task"]])
        test = LOADED[name] = LOADED.get(name) or task.load_test(_whole(spec))
        test = test if part is _whole(spec) else few_of(test, _whole(spec))
        metrics = _scores(spec, task, method, part, test, training.tracked(method, test))
    wrong = [name for name, value in metrics.items() if not math.isfinite(value) or not in_range(name, value)]
    if wrong or not {task.card.primary} & {*metrics, *map(bare, metrics)}:
        raise ValueError(f"{wrong[0]} is {metrics[wrong[0]]}" if wrong else f"the primary metric {task.card.primary} is absent")
    return metrics


@contextlib.contextmanager
def stepped(spec: RunSpec, **train: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """For a ``with``: task, few data, method and training of ``spec`` after one epoch of the few, with the options ``train``.

    Whatever it starts from has taken such a step too, instead of having been trained.
    """
    from elboard.bench.training import Training

    task, part, method = _light(spec)
    with tempfile.TemporaryDirectory() as folder:
        config = {**spec.config, "train": {**spec.config["train"], "epochs": 1, **train}}
        training = Training(task, part, config, spec.seed, Path(folder), lambda event: None)
        method.fit(part, training)
        yield task, part, method, training


def started_from(spec: RunSpec) -> Any:
    """The method of ``spec`` as others start from it, after a step that is taken once a process."""
    if spec.key not in LOADED:
        with stepped(spec) as (_, _, method, _):
            LOADED[spec.key] = {name: value.cpu().clone() for name, value in method.state_dict().items()}
    method = _light(spec)[2]
    method.load_state_dict(LOADED[spec.key])
    method.progress = 1.0
    return method.eval()


def _light(spec: RunSpec) -> Any:
    """Task, few data and method of ``spec`` before its step; all data where the task makes its own batches of them."""
    from elboard.bench.task import Task

    said = find("method", spec.method, tuple(map(Path, spec.paths))).card.bases
    bases: dict[str, Any] = {}
    for role, runs in spec.bases.items():
        methods = [started_from(run) for run in runs]
        bases[role] = methods if "count" in said[role] else methods[0]
    own = find("task", spec.task, tuple(map(Path, spec.paths))).load().batches is not Task.batches
    return build(spec, bases, _whole(spec) if own else few(_whole(spec)))


def _whole(spec: RunSpec) -> Any:
    """The data that methods may see, read once a process."""
    name = json.dumps([spec.task, spec.budget, spec.seed, spec.config["task"]])
    if name not in LOADED:
        task_class = find("task", spec.task, tuple(map(Path, spec.paths))).load()
        task = task_class(task_class.Config(**spec.config["task"]), spec.budget, spec.seed)
        task.fetch()
        LOADED[name] = task.load_train()
    return LOADED[name]


def few(data: Any) -> Any:
    """``data`` with at most 16 examples of each split."""
    n = _n_train(data)
    spec = replace(data.spec, n_train=min(n, FEW)) if n and not data.shared else data.spec
    return replace(data, train=few_of(data.train, data), valid=few_of(data.valid, data), spec=spec)


def few_of(of: Any, data: Any) -> Any:
    """At most 16 examples of each tensor of ``of``: of those of ``data.train`` the first (all where they share something, as a graph),
    else evenly spaced ones."""
    if isinstance(of, dict):
        return {name: few_of(value, data) for name, value in of.items()}
    ours = getattr(of, "ndim", 0) and len(of) == _n_train(data)
    if not getattr(of, "ndim", 0) or data.shared and ours:
        return of
    return of[:: 1 if ours else max(1, len(of) // FEW)][:FEW]


def _n_train(data: Any) -> int:
    return len(next(iter(data.train.values()), ()))


def _scores(spec: RunSpec, task: Any, method: Any, data: Any, test: Any, history: list[dict]) -> dict[str, float]:
    from elboard.bench.epochs import evaluating
    from elboard.bench.evidence import scored

    seed_everything(spec.seed + 1)
    with evaluating(method):
        return scored(type(task), task.observe(method, data, test, history)).metrics


def _same(check: str, what: str, first: Mapping[str, float], second: Mapping[str, float]) -> Found:
    name = next((name for name in sorted({*first, *second}) if first.get(name) != second.get(name)), None)
    if name is not None:
        yield check, f"{what} other numbers: {name} is {first.get(name)}, then {second.get(name)}"


def _evidence(spec: RunSpec, folder: Path, record: Any, method: Any) -> Found:
    import numpy as np

    task = find("task", spec.task, tuple(map(Path, spec.paths))).load()
    with np.load(folder / record.files["evidence"][0], allow_pickle=False) as archive:
        evidence = dict(archive)
    of_sets = {name for examples in task.sets.values() for name in examples.among(evidence)}
    shapes = {size for weights in method.parameters() for size in weights.shape}  # an array may be by unit, and be as many by chance
    counts = {n: name for name, n in spec.config["task"].items() if name.startswith("n_") and isinstance(n, int) and n >= MANY}
    for name, array in evidence.items():
        if name not in of_sets and (over := counts.keys() & {*array.shape} - shapes):
            said = f"{name} {array.shape} grows with {counts[min(over)]} and is of none of `sets`"
            yield "evidence", f"{said}: where it is large it is left out"
    found = task.score(evidence, record.metrics)
    if bare(record.primary) not in map(bare, found):
        yield "evidence", f"does not give the primary metric {record.primary}"
    for metric, value in found.items():
        if abs(value - record.metrics[metric]) > task.tolerance(metric, evidence):
            yield "evidence", f"gives {metric} = {value}, the record says {record.metrics[metric]}"


def _state() -> dict[str, Any]:
    """What a loss must leave as it is, by name, and but for the random states a run too."""
    import numpy as np
    import torch

    return {
        "torch's default type": torch.get_default_dtype(),
        "whether gradients are on": torch.is_grad_enabled(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the working folder": os.getcwd(),
        "Python's random state": random.getstate(),
        "NumPy's random state": repr(np.random.get_state(legacy=False)),
    }


def _loss(method: Any, batch: Any) -> Found:
    """Whether the loss of an untrained ``method`` is pure: no logging, no state, randomness from torch alone."""
    import torch

    from elboard.bench.method import Method

    if type(method).loss is Method.loss:
        return
    logged: list[Any] = []
    method.log = method.log_dict = lambda *words, **more: logged.append(words)
    weights = {name: value.clone() for name, value in method.train().state_dict().items() if not name.endswith(KEPT)}
    before, values = _state(), []
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for _ in range(2):
            torch.manual_seed(0)
            values.append({name: float(value.detach()) for name, value in method.loss(batch).items()})
    now, after = method.state_dict(), _state()
    changed = [name for name in before if after[name] != before[name]] + [name for name in weights if not weights[name].equal(now[name])]
    yield from (("loss", f"changes {name}") for name in changed)
    if logged or printed.getvalue():
        yield "loss", "logs or prints: scalars for the curves are what it returns"
    if any(parameter.grad is not None for parameter in method.parameters()):
        yield "loss", "computes gradients, which is the base class's part"
    yield from _same("loss", "the same batch and random state give", *values)
