"""ELBOard: what authors of methods, tasks, metrics and protocols import, and notebooks. Names come when they are asked for.

    from elboard import Method, MethodCard                  # and the protocols: Classifier, Generator, ...
    from elboard import Data, Observed, Task, TaskCard        # and the facts of data: ClassSpec, LikelihoodSpec, ...
    from elboard import leaderboard, load_method, records, run, sweep       # what the commands do, in notebooks and scripts
    from elboard import execute, resolve

The package's parts lie in folders of their own: inside this one where it is installed, beside it in a checkout.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not Path(__file__).with_name("bench").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from elboard.bench.batches import OwnBatches
    from elboard.bench.card import MethodCard, TaskCard
    from elboard.bench.config import RunSpec, resolve
    from elboard.bench.errors import RunFailed, UserError
    from elboard.bench.evidence import Examples
    from elboard.bench.kinds import DataSpec
    from elboard.bench.method import Method
    from elboard.bench.metrics.conventions import Convention
    from elboard.bench.options import Count, Form, Natural, NonNegative, Positive, Range, Share
    from elboard.bench.record import Record
    from elboard.bench.run import execute
    from elboard.bench.task import Batch, Data, Observed, Task
    from elboard.notebook import leaderboard, load_method, records, run, sweep

    # What checkers may take from here; they know protocols and facts of data, which kinds bring, as Any.
    __all__ = ["Batch", "Convention", "Data", "DataSpec", "Examples", "Method", "MethodCard", "Observed", "OwnBatches", "Record", "RunSpec"]
    __all__ += ["RunFailed", "Task", "TaskCard", "UserError", "execute", "resolve"]
    __all__ += ["Count", "Form", "Natural", "NonNegative", "Positive", "Range", "Share"]
    __all__ += ["leaderboard", "load_method", "records", "run", "sweep"]

__version__ = "0.1.0"

_HOMES = {
    "bench.batches": ("OwnBatches",),
    "bench.card": ("MethodCard", "TaskCard"),
    "bench.config": ("RunSpec", "resolve"),
    "bench.errors": ("RunFailed", "UserError"),
    "bench.evidence": ("Examples",),
    "bench.kinds": ("DataSpec",),
    "bench.method": ("Method",),
    "bench.metrics.conventions": ("Convention",),
    "bench.options": ("Count", "Form", "Natural", "NonNegative", "Positive", "Range", "Share"),
    "bench.record": ("Record",),
    "bench.run": ("execute",),
    "bench.task": ("Batch", "Data", "Observed", "Task"),
    "notebook": ("leaderboard", "load_method", "records", "run", "sweep"),
}
_HOME = {name: f"elboard.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__all__":  # of `from elboard import *`
        return [name for name in __dir__() if not name.startswith("_")]
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    from elboard.bench.kinds import lookup

    found = None if name.startswith("_") else lookup("protocols", name) or lookup("specs", name)
    if found is None:
        raise AttributeError(f"module 'elboard' has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    from elboard.bench.kinds import catalogue

    return sorted({*(name for name in globals() if name.startswith("__")), *_HOME, *catalogue().protocols, *catalogue().specs})
