"""Records of schema 2, whose key was the hash of the whole configuration: read as those of today, and found where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec, declared_for, restated
from elboard.bench.errors import UserError
from elboard.bench.identity import IN_KEY, PRECISIONS, key_of
from elboard.bench.registry import aliases

SCHEMA = 2
_ABSENT = object()
RENAMED = (  # tasks, methods, an option of theirs; what it was declared as, and what says the same today
    ("links/*", "*", "train.batch_size", 100_000, 0),
    ("noisy/digits-sym40", "*co-teaching", "method.forget_rate", 0.4, None),
    ("noisy/mnist-sym50", "*co-teaching", "method.forget_rate", 0.5, None),
    ("noisy/fashion-asym40", "*co-teaching", "method.forget_rate", 0.2, None),
    ("noisy/cifar10n-worst", "*co-teaching", "method.forget_rate", 0.4021, None),
    ("calibration/*", "*co-teaching", "method.forget_rate", 0.0, None),
)


def spec_of(tree: Mapping[str, Any]) -> RunSpec:
    """The specification of a record of schema 2; a single run that it starts from may stand without its role."""
    runs = {"classifier": [tree["base"]]} if tree.get("base") else tree.get("bases", {})
    bases = {role: tuple(map(spec_of, found)) for role, found in runs.items()}
    words = {name: value for name, value in tree.items() if name != "base"}
    return RunSpec(**{**words, "bases": bases, "fixed": tuple(tree.get("fixed", ())), "paths": ()})


def tree_of(spec: RunSpec) -> dict[str, Any]:
    """The tree whose hash was the key: with the whole configuration, and seeds on all levels."""
    tree = {
        "task": f"{spec.task}@{spec.task_version}",
        "method": f"{spec.method}@{spec.method_version}",
        "budget": spec.budget,
        "seed": spec.seed,
        "config": {section: spec.config[section] for section in IN_KEY},
        "precision": spec.config["trainer"]["precision"],
    }
    of = {role: [tree_of(run) for run in runs] for role, runs in spec.bases.items()}
    if list(of) == ["classifier"]:
        return tree | {"base": of["classifier"][0]}
    return tree | {"bases": of} if of else tree


def upgraded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a valid record of schema 2 as today's code states its run.

    Digest and schema stay those of the file. Where the versions of its task and method are not here, its key stays too, and its identity
    is made of the whole configuration.
    """
    spec, key = spec_of(tree["spec"]), tree["key"]
    try:
        spec = restated(_renamed(spec))
        identity, key = spec.identity(), spec.key
        if spec.reseeded(spec.seed) != spec:
            raise UserError("seeds that no method gives")
    except (UserError, KeyError, TypeError, AttributeError):
        spec = spec_of(tree["spec"])
        identity, key = {**_whole(spec).identity(), "schema": SCHEMA}, tree["key"]
    return {**tree, "key": key, "spec": spec.resolved(), "identity": identity}


def _whole(spec: RunSpec) -> RunSpec:
    bases = {role: tuple(map(_whole, runs)) for role, runs in spec.bases.items()}
    return replace(spec, options={section: spec.config[section] for section in IN_KEY}, bases=bases)


def _renamed(spec: RunSpec, undone: bool = False) -> RunSpec:
    """``spec`` with options that say the same as they did in other words, or with the words from before (``undone``)."""
    config = {**spec.config}
    for tasks, methods, option, old, new in RENAMED:
        section, name = option.split(".")
        if fnmatchcase(spec.task, tasks) and fnmatchcase(spec.method, methods):
            here, there = (new, old) if undone else (old, new)
            if config[section].get(name, _ABSENT) == here and (undone or declared_for(spec)[section].get(name, _ABSENT) == new):
                config[section] = {**config[section], name: there}
    return replace(spec, config=config, bases={role: tuple(_renamed(run, undone) for run in runs) for role, runs in spec.bases.items()})


@cache
def keys_of(spec: RunSpec) -> tuple[str, ...]:
    """The keys under which runs of ``spec`` may have been kept, by whatever name its method had."""
    names = [spec.method, *(alias for alias, name in aliases("method", tuple(map(Path, spec.paths))).items() if name == spec.method)]
    precision = str(spec.config["trainer"]["precision"])
    words = dict.fromkeys([precision, *(word for pair in PRECISIONS.items() if precision in pair for word in pair)])
    alike = [_of_precision(one, word) for one in dict.fromkeys((spec, _renamed(spec, undone=True))) for word in words]
    found = (replace(one, method=name) for name in names for one in alike)
    return tuple(dict.fromkeys(key_of(tree_of(one)) for one in found))


def _of_precision(spec: RunSpec, word: str) -> RunSpec:
    """``spec`` and the runs that it starts from with their precision in another ``word`` for the same, as far as it is their own."""
    trainer, of = spec.config["trainer"], {role: tuple(_of_precision(run, word) for run in runs) for role, runs in spec.bases.items()}
    same = PRECISIONS.get(word, word) == PRECISIONS.get(str(trainer["precision"]), str(trainer["precision"]))
    return replace(spec, bases=of, config={**spec.config, "trainer": {**trainer, "precision": word}} if same else spec.config)
