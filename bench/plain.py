"""Whether what a record says has the shape that its readers take for granted, whoever wrote it; what of a run is for no other reader."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from elboard.bench.identity import IN_KEY

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a method's name, and each of the two parts of a task's
FILE = re.compile(r"(evidence|pictures)/[A-Za-z0-9][A-Za-z0-9._-]{0,80}")  # of a run's folder, which others may be shown
DEEPEST, LONGEST, MOST = 16, 1000, 2**63  # runs that start from each other, characters of an option, absolute value of a whole number
NAMED = ("task", "method", "budget")
MAPPING, WHOLE, NUMBER, TEXT, ANY = "a mapping", "a whole number", "a finite number", "text", "plain"
NOTES = {  # what readers look for in notes; others may be there
    "search": {
        **dict.fromkeys(("trials", "number", "done", "failed", "pruned", "seed", "trial_seed"), WHOLE),
        **dict.fromkeys(("id", "metric", "sampler", "prune"), TEXT),
        **{"wall_s": NUMBER, "value": NUMBER, "parameters": ANY, "space": ANY},
    },
    "trial": {"search": TEXT, "number": WHOLE},
    "selection": {"metric": TEXT, "value": NUMBER},
    "chosen_epoch": WHOLE,
    "parts": WHOLE,
}
PROVENANCE = {"versions": MAPPING, "source": MAPPING, "hardware": MAPPING, "data": MAPPING}
TRAIN = {"epochs": WHOLE}
QUIET = ("The `srun` command is available", "`isinstance(treespec, LeafSpec)`")  # of libraries' warnings, which say nothing of the run
PATH = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/'\"`:,;()<>]+[\\/])+(?=[^\s\\/'\"`:,;()<>])")


def check(tree: Mapping[str, Any]) -> None:
    """Raises ValueError where notes or provenance of a decoded record have not the shape that readers know."""
    _fields("notes", tree.get("notes", {}), NOTES)
    _fields("provenance", tree.get("provenance", {}), PROVENANCE)


def check_spec(spec: Mapping[str, Any], depth: int = 0) -> None:
    """As :func:`check`, of what it says of its run: names are short texts of one line, options plain values, versions small."""
    if depth > DEEPEST:
        raise ValueError(f"spec.bases are more than {DEEPEST} deep")
    for name in NAMED:
        if not (isinstance(spec[name], str) and spec[name].isprintable() and 0 < len(spec[name]) <= 100):
            raise ValueError(f"spec.{name} is {spec[name]!r:.60}, not a name")
        if f"{name}_version" in spec and not (type(spec[f"{name}_version"]) is int and 0 <= spec[f"{name}_version"] < 2**31):
            raise ValueError(f"spec.{name}_version is {spec[f'{name}_version']!r:.60}, not a whole number")
    for section in (*IN_KEY, "trainer"):
        if not isinstance(spec["config"].get(section), dict):
            raise ValueError(f"spec.config.{section} is {spec['config'].get(section)!r:.60}, not a mapping")
    for section, options in spec["config"].items():
        if not isinstance(options, dict):
            raise ValueError(f"spec.config.{section} is {options!r:.60}, not a mapping")
        for name, value in options.items():
            if not name.isidentifier() or not _plain(value):
                raise ValueError(f"spec.config.{section}.{name[:60]!r} is {value!r:.60}, no option with a plain value")
    if "epochs" not in spec["config"]["train"]:
        raise ValueError("spec.config.train has no epochs")
    _fields("spec.config.train", spec["config"]["train"], TRAIN)
    for runs in spec.get("bases", {}).values():
        for run in runs:
            check_spec(run, depth + 1)


def _fields(where: str, said: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, kind in known.items():
        if name not in said:
            continue
        value, words = said[name], kind if isinstance(kind, str) else MAPPING
        if not _is(value, words):
            raise ValueError(f"{where}.{name} is {value!r:.60}, not {words}")
        if words is ANY and not all(name.isprintable() and len(name) <= 100 for name in value):
            raise ValueError(f"{where}.{name} has a name of more than a line")
        if isinstance(kind, dict):
            _fields(f"{where}.{name}", value, kind)


def _is(value: Any, kind: str) -> bool:
    if kind in (MAPPING, ANY):
        return isinstance(value, dict) and (kind is MAPPING or _plain(value, 4))
    if kind is TEXT:
        return isinstance(value, str)
    whole = type(value) is int and abs(value) < MOST
    return whole or kind is NUMBER and isinstance(value, float) and math.isfinite(value)


def _plain(value: Any, depth: int = 3) -> bool:
    """Whether ``value`` is what an option may be: a number, a short text, true, false or nothing, or a few of them nested."""
    if isinstance(value, str):
        return len(value) <= LONGEST
    if isinstance(value, list | dict):
        parts = value if isinstance(value, list) else value.values()
        return depth > 0 and len(value) <= LONGEST and all(_plain(part, depth - 1) for part in parts)
    return value is None or isinstance(value, float) or isinstance(value, int) and abs(value) < MOST


def without_places(text: str) -> str:
    """``text`` without the folders of the files that it names, which say whose machine it was."""
    home = os.path.expanduser("~")
    return PATH.sub("", text if len(home) < 2 else text.replace(home, "~"))


def heard(text: str) -> str:
    """What a record keeps of the warning ``text``; empty for nothing."""
    return "" if any(words in text for words in QUIET) else without_places(text)


def shared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its run: not where code lies or curves are tracked, neither of it nor of the runs that it starts from."""
    config = {section: options for section, options in spec["config"].items() if section != "wandb"}
    said = {name: value for name, value in spec.items() if name != "paths"} | {"config": config}
    if "bases" in spec:
        said["bases"] = {role: [shared(run) for run in runs] for role, runs in spec["bases"].items()}
    return said | ({"base": shared(spec["base"])} if spec.get("base") else {})  # of schema 2
