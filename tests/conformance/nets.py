"""What must not change unnoticed, as files beside this one: compatible pairs, resolved defaults, golden scores.

``ELBOARD_UPDATE_NETS=1`` writes the present state, after a deliberate change; the diff of the file then shows what was meant.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elboard.bench import check, evidence
from elboard.bench.config import BUDGETS, SECTIONS, merge
from elboard.bench.record import Record
from elboard.bench.registry import compatible, discover
from elboard.bench.runs import Runs

FOLDER = Path(__file__).parent
UPDATE = bool(os.environ.get("ELBOARD_UPDATE_NETS"))
GOLDEN, PAIRS, DEFAULTS = (FOLDER / name for name in ("golden.json", "pairs.txt", "defaults.json"))

observed: dict[str, dict[str, np.ndarray]] = {}  # by task, of the first run of its witness that was checked in full in this process
_found: dict[tuple[str, str], list[check.Finding]] = {}
_metrics: dict[tuple[str, str], set[str]] = {}


def witness(task: str) -> str:
    """The method whose score pins ``task``: the one of its golden score, of a new task that which is checked on it in full."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))["tasks"].get(task)
    return known["method"] if known else min(method for of, method in check.thorough() if of == task)


@functools.cache
def thorough() -> set[tuple[str, str]]:
    """The pairs that are checked in full: each method on its home task, each task with its witness; of those that can run here."""
    return set(compatible()) & {*at_home(), *((task, witness(task)) for task in discover("task"))}


def at_home() -> set[tuple[str, str]]:
    """Each method with its home task, of those that can run here."""
    return set(compatible()) & {(entry.card.home, name) for name, entry in discover("method").items()}


def by_task(pairs: set[tuple[str, str]] | list[tuple[str, str]]) -> list:
    """Parameters of tests of pairs: those of a task go to one worker, which reads its data and trains what they start from once."""
    return [pytest.param(*pair, marks=pytest.mark.xdist_group(pair[0])) for pair in sorted(pairs)]


def tasks() -> list:
    """Parameters of tests of tasks, beside those of their pairs."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(discover("task"))]


def in_full(task: str, method: str, root: Path) -> tuple[Record | None, list[check.Finding]]:
    """The record and the findings of a pair's full check, which is done once in a process."""
    spec = check.specification(task, method)
    if (task, method) not in _found:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "scored", functools.partial(_scored, method, evidence.scored))
            _found[task, method] = check.collect(f"{method} on {task}", check.full(spec, root))
    return Runs(root).done(spec), _found[task, method]


def _scored(method: str, real: Callable[..., Any], cls: type, seen: Any) -> Any:
    """What ``real`` gives; keeps what is observed of the witness of the task ``cls``."""
    if method == witness(cls.card.name):
        observed.setdefault(cls.card.name, seen.arrays)
    return real(cls, seen)


def metrics(task: str, method: str, root: Path) -> set[str]:
    """The metric keys that a pair gives, by the check that it has anyway."""
    if (task, method) in thorough():
        record = in_full(task, method, root)[0]
        return set(record.metrics) if record else set()
    if (task, method) not in _metrics:
        _metrics[task, method] = set(check.light(check.specification(task, method, **check.fewer(task))))
    return _metrics[task, method]


def pairs() -> str:
    """A line for each task with the methods that fit it."""
    fitting: dict[str, list[str]] = {}
    for task, method in compatible():
        fitting.setdefault(task, []).append(method)
    return "".join(f"{task}: {' '.join(methods)}\n" for task, methods in fitting.items())


def defaults() -> dict[str, Any]:
    """What each ``name@version`` declares: of a method its options, of a task its options and training by budget."""
    found = {f"{name}@{of.card.version}": {"options": merge(of.config_class(), name, {})} for name, of in discover("method").items()}
    for name, of in discover("task").items():
        schemas = {"task": of.config_class(), "train": SECTIONS["train"]}
        by_budget = {budget: of.budgets().get(budget, {}) for budget in BUDGETS}
        found[f"{name}@{of.card.version}"] = {
            budget: {section: merge(schema, name, settings.get(section, {})) for section, schema in schemas.items()}
            | ({"method": settings["method"]} if "method" in settings else {})
            for budget, settings in by_budget.items()
        }
    return found


def written(tree: dict[str, Any]) -> str:
    """JSON with one line for each entry, so that a change is one line of a diff."""
    lines = (f"{json.dumps(name)}: {json.dumps(value, sort_keys=True)}" for name, value in sorted(tree.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def golden(kind: str, name: str, now: dict[str, Any]) -> dict[str, Any] | None:
    """The golden score of a "methods" or "tasks" entry; ``now`` is written where an update is asked for."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if UPDATE:
        known[kind][name] = now
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return known[kind].get(name)
