"""What the package's own files say in their cards, kept between processes as Python keeps bytecode: under the sizes and modification times
of the sources. Reading the cards of hundreds of files takes longer than everything else that a listing does.

The cache may be deleted at any time. What lies outside of the package is read each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from elboard.bench.folders import kept_folder

FOLDER = "kept"  # in the user's cache, of what can be computed again
PACKAGE = Path(__file__).parents[1]
SUFFIX = ".marshal"
SUFFIXES = (".py", ".yaml", ".json")


def state_of(folders: Iterable[str]) -> str:
    """Hash of the names, sizes and modification times of sources and data in ``folders`` of the package, shipped records apart."""
    digest = hashlib.sha256()
    for part in folders:
        for folder, below, names in os.walk(PACKAGE / part):
            below[:] = sorted(name for name in below if (part, name) != ("results", "records") and name != "__pycache__")
            for name in sorted(name for name in names if name.endswith(SUFFIXES)):
                stat = os.stat(os.path.join(folder, name))
                digest.update(f"{folder}/{name} {stat.st_size} {stat.st_mtime_ns}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def read(file: Path, of: bytes) -> Any:
    """What :func:`write` left in ``file`` under the 32 bytes ``of``. Raises LookupError where there is nothing whole of that kind."""
    try:
        said = file.read_bytes()
    except OSError as error:
        raise LookupError(file) from error
    if said[:32] != of or said[32:64] != hashlib.sha256(said[64:]).digest():
        raise LookupError(file)
    return marshal.loads(said[64:])


def write(file: Path, of: bytes, found: Any) -> None:
    """Leave ``found``, built of Python's own plain types, in ``file`` under the 32 bytes ``of``, as far as it can be written."""
    from elboard.bench.record import save_atomically  # which reads cards itself

    body = marshal.dumps(found)
    with contextlib.suppress(OSError):
        save_atomically(file, lambda to: to.write_bytes(of + hashlib.sha256(body).digest() + body))


def literals(name: str, folders: Iterable[str], make: Callable[[], Any]) -> Any:
    """What ``make`` gives, plain literals, and gave before where the sources in ``folders`` were the same; kept as far as the user's cache
    can be written, in one file for each ``name`` and place of the package."""
    state = hashlib.sha256(f"{sys.implementation.cache_tag} {state_of(folders)}".encode()).digest()
    where = hashlib.sha256(os.fsencode(PACKAGE)).hexdigest()[:16]
    file = kept_folder() / FOLDER / f"{name}-{where}{SUFFIX}"
    try:
        return read(file, state)
    except LookupError:
        found = make()
        write(file, state, found)
        return found
