"""What a run is: the tree whose hash is its key, and all that follows from it. The one place that knows.

    {"task": "ood/digits@1", "method": "vra@1", "budget": "lite", "seed": 0, "precision": "32-true",
     "options": {"method": {"clip": 1.0}, "train": {"epochs": 3}},  # that differ from what the code of these versions declares
     "bases": {"classifier": [tree]},  # without a seed where it follows the run's own: of n runs the i-th has n * seed + i
     "code": {"method": "3f2a09c1d4e5b687"}}  # of what does not belong to the package

An option at its default has no word in the tree, so that a new one changes no key; a changed default needs a new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elboard.bench.config import RunSpec
    from elboard.bench.registry import Entry

IN_KEY = ("method", "train", "task")
PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}  # short names that Lightning takes


def tree_of(spec: RunSpec) -> dict[str, Any]:
    """The canonical tree of a specification: everything that changes the result, and nothing else."""
    precision = str(spec.config["trainer"]["precision"])
    tree = {
        "task": f"{spec.task}@{spec.task_version}",
        "method": f"{spec.method}@{spec.method_version}",
        "budget": spec.budget,
        "seed": spec.seed,
        "precision": PRECISIONS.get(precision, precision),
    }
    for role, runs in spec.bases.items():
        trees = map(tree_of, runs)
        tree.setdefault("bases", {})[role] = list(trees if role in spec.fixed else map(configuration, trees))
    return tree | {name: value for name, value in (("options", spec.options), ("code", spec.code)) if value}


def key_of(tree: Mapping[str, Any]) -> str:
    """The hash of a tree: 16 hexadecimal digits of the SHA-256 of its JSON with sorted keys, without spaces."""
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def configuration(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` without its seed: what runs that differ in their seed alone have in common."""
    return {name: value for name, value in tree.items() if name != "seed"}


def group_of(tree: Mapping[str, Any]) -> str:
    """The hash of :func:`configuration`: one for all seeds, and for none but them."""
    return key_of(configuration(tree))


def reseeded(spec: Mapping[str, Any], tree: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a record says of its specification, with another seed; ``tree`` tells whose seeds follow. As ``RunSpec.reseeded``, and quick."""
    of = {}
    for role, runs in spec["bases"].items():
        trees, n = tree["bases"][role], len(runs)
        of[role] = runs if "seed" in trees[0] else [reseeded(run, trees[i], seed * n + i) for i, run in enumerate(runs)]
    return {**spec, "seed": seed, "bases": of}


def differing(config: Mapping[str, Mapping], declared: Mapping[str, Mapping]) -> dict[str, dict[str, Any]]:
    """The options of ``config`` that are not as ``declared``, by section; sections without any are left out."""
    found = {}
    for section in IN_KEY:
        known = declared[section]
        own = {name: value for name, value in config[section].items() if name not in known or known[name] != value}
        if own:
            found[section] = own
    return found


UNSAID = ("group", "code")  # what :func:`changed` says of a run beside options


def changed(tree: Mapping[str, Any], methods: Mapping[str, Entry]) -> dict[str, Any]:
    """The options that a label names, as the command line would set them: those that differ from what is declared.

    Of runs that it starts from they are those that the method's card (among ``methods``) does not set, and that are not the run's own.
    ``{"group": hash}`` where it is not known what was declared; ``code`` where it is not the code that is here.
    """
    if "schema" in tree:
        return {"group": group_of(tree)}
    found = {f"{section}.{name}".removeprefix("method."): of[name] for section, of in tree.get("options", {}).items() for name in of}
    if tree["precision"] != "32-true":
        found["trainer.precision"] = tree["precision"]
    name, _, version = tree["method"].rpartition("@")
    entry = methods.get(name)
    card = entry.card if entry and str(entry.card.version) == version else None
    if "method" in tree.get("code", {}) and not (card and entry.code() == tree["code"]["method"]):
        found["code"] = tree["code"]["method"][:6]
    inner: dict[str, Any] = {}
    for role, runs in tree.get("bases", {}).items():
        words = card.bases.get(role, {}) if card else {}
        prefix = "base." if len(tree["bases"]) == 1 else f"bases.{role}."
        inner |= {prefix + option: value for option, value in _of_base(tree, runs[0], words, found, methods).items()}
    return found | inner


def _of_base(tree: Mapping, base: Mapping, words: Mapping, own: Mapping, methods: Mapping[str, Entry]) -> dict[str, Any]:
    """The options of ``base`` beside the ``words`` of the card of the run's method and what ``tree`` hands on of its ``own``."""
    handed = {name: value for name, value in own.items() if name.startswith(("task.", "trainer."))}
    if base["task"] != tree["task"]:
        handed = {name: value for name, value in handed.items() if name.startswith("trainer.")}
    said = {**handed, **{name.removeprefix("method."): value for name, value in words.get("set", {}).items()}}
    inner = changed(base, methods)
    name = base["method"].rpartition("@")[0]
    if words and name != words["method"]:
        inner = {"method": name, **inner}
    return {name: value for name, value in inner.items() if name not in said or value != said[name]}


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}, "c": [{"d": 2}]}`` -> ``{"a.b": 1, "c.0.d": 2}``; other lists are values."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = dict(enumerate(value))
        flat.update(flatten(value, path + ".") if isinstance(value, Mapping) else {path: value})
    return flat


def difference(a: Mapping, b: Mapping) -> dict[str, tuple[Any, Any]]:
    """Leaves in which two trees differ: ``{"options.train.epochs": (15, 20)}``; None stands for an absent leaf."""
    left, right = flatten(a), flatten(b)
    return {name: (left.get(name), right.get(name)) for name in sorted({*left, *right}) if left.get(name) != right.get(name)}
