"""What must not change unnoticed, as files beside this one: compatible pairs, resolved defaults, golden scores.

``ELBOARD_UPDATE_NETS=1`` writes the present state, after a deliberate change; the diff of the file then shows what was meant.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from elboard.bench.config import BUDGETS, declared
from elboard.bench.registry import compatible, discover

FOLDER = Path(__file__).parent
UPDATE = bool(os.environ.get("ELBOARD_UPDATE_NETS"))
GOLDEN, PAIRS, DEFAULTS = (FOLDER / name for name in ("golden.json", "pairs.txt", "defaults.json"))


def pairs() -> str:
    """A line for each task with the methods that fit it."""
    fitting: dict[str, list[str]] = {}
    for task, method in compatible():
        fitting.setdefault(task, []).append(method)
    return "".join(f"{task}: {' '.join(methods)}\n" for task, methods in fitting.items())


def defaults() -> dict[str, Any]:
    """What each ``name@version`` declares: of a method its options and recipes, of a task its options and training by budget."""
    methods, tasks = discover("method"), discover("task")
    found = {f"{name}@{of.card.version}": {"options": declared(of), "recipes": of.recipes()} for name, of in methods.items()}
    return found | {f"{name}@{of.card.version}": {budget: declared(of, budget) for budget in BUDGETS} for name, of in tasks.items()}


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
