"""What is dear to compute from records, kept under the hash of all that it depends on.

A board of 50 methods with 100 seeds each takes seconds of resampling, the claims of all papers a second of reading sources. What is kept is
a cache that may be deleted at any time and cannot be out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench.cached import FOLDER, state_of
from elboard.bench.folders import kept_folder
from elboard.bench.record import write_text_atomically
from elboard.results.store import INDEX, Group

MONTH = 30 * 86400.0  # seconds after which what was kept is computed again
SOURCES = ("bench", "methods", "results", "sweeps", "tasks")  # folders of the package


def digest(group: Group) -> str:
    """Hash of the seeds and metrics of ``group``: 32 hexadecimal digits, the same however the records are kept."""
    columns = (column.tobytes() for column in (group.seeds, *group.metrics.values()))
    return hashlib.sha256(b"".join((json.dumps([*group.metrics, group.n]).encode(), *columns))).hexdigest()[:32]


def place(root: Path | None) -> Path:
    """Where what follows from the records under ``root`` is kept: in its index, in the user's cache where it is no folder."""
    return root / INDEX if root is not None and root.is_dir() else kept_folder()


def kept(folder: Path, about: Any, make: Callable[[], Any]) -> Any:
    """What ``make`` gives, plain JSON, and gave before where ``about`` and the package's sources were the same.

    It is kept below ``folder``, as far as that can be written.
    """
    digest = hashlib.sha256(json.dumps([sources(), about]).encode()).hexdigest()[:32]
    file = folder / FOLDER / f"{digest}.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["of"] == digest:
            return said["found"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = make()
    with contextlib.suppress(OSError):
        write_text_atomically(file, json.dumps({"found": found, "of": digest}))
        clear(folder, MONTH)
    return found


def clear(folder: Path, age: float = 0.0) -> None:
    """Delete what was kept below ``folder`` ``age`` seconds ago or earlier."""
    for file in (folder / FOLDER).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime >= age:
                file.unlink()


@cache
def sources() -> str:
    """Hash of the state of the package's sources and data."""
    return state_of(SOURCES)
