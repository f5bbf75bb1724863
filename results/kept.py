"""What is dear to compute from records, kept under the hash of all that it depends on.

A board of 50 methods with 100 seeds each takes seconds of resampling, the claims of all papers a second of reading sources. What is kept is
a cache that may be deleted at any time and cannot be out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench.cached import FOLDER, SUFFIX, read, state_of, write
from elboard.bench.folders import kept_folder
from elboard.results.store import INDEX, Group

MONTH = 30 * 86400.0  # seconds after which what was kept is computed again
SOURCES = ("bench", "methods", "results", "sweeps", "tasks")  # folders of the package


def digest(*groups: Group) -> str:
    """Hash of the settings, seeds and metrics of ``groups``: 32 hexadecimal digits, the same however the records are kept."""
    return hashlib.sha256("".join(group.digest for group in groups).encode()).hexdigest()[:32]


def place(root: Path | None) -> Path:
    """Where what follows from the records under ``root`` is kept: in its index, in the user's cache where it is no folder."""
    return root / INDEX if root is not None and root.is_dir() else kept_folder()


def kept(folder: Path, about: Any, make: Callable[[], Any]) -> Any:
    """What ``make`` gives, plain JSON, and gave before where ``about`` and the package's sources were the same.

    It is kept below ``folder``, as far as that can be written, in the bytes of :mod:`marshal`, which are read in a fifth of JSON's time.
    """
    digest = hashlib.sha256(json.dumps([sys.implementation.cache_tag, sources(), about]).encode())
    file = folder / FOLDER / f"{digest.hexdigest()[:32]}{SUFFIX}"
    try:
        return read(file, digest.digest())
    except LookupError:
        found = make()
        write(file, digest.digest(), json.loads(json.dumps(found)))
        with contextlib.suppress(OSError):
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
