"""Reading records: those of a folder of runs and those that ship with the package. Never imports torch.

Truth is, of those that ship, one line each (:mod:`elboard.results.store.lines`); of runs it is one JSON file for each attempt
(:mod:`elboard.results.store.files`). Each source may have a cache (:mod:`elboard.results.store.cache`). Readers compare name, size and
modification time of every file with what the cache says, and read the rest from the files, so that an answer does not depend on it.

``<root>/archive/`` is a folder of runs like ``<root>`` to which nothing is written any more; :func:`pack` moves whole runs into it. Its
cache says which state of the folder it covers; as long as that is the present one, its files are not looked at one by one, which would
take seconds for a hundred thousand. Else it is read like any other folder of runs, so that a move that was cut short, a lost cache or a
copied folder cost time and no record. A change inside the folder of an archived run is not noticed before the next :func:`compact`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from elboard.bench.errors import UserError
from elboard.bench.kinds import lookup
from elboard.bench.metrics.conventions import parse
from elboard.bench.record import ARCHIVE, Record, flush
from elboard.results.left_out import telling
from elboard.results.store import cache, lines
from elboard.results.store.files import INDEX, Item, Runs, Stat, folders_of
from elboard.results.store.groups import Attempts, Group, attempts_of, grouped, groups_of, joined
from elboard.results.store.lines import SHIPPED, Lines

__all__ = ["INDEX", "SHIPPED", "Group", "compact", "groups", "groups_of", "load", "pack"]
CHEAP = 2**20  # bytes of lines that are read in less time than DuckDB takes to start
Source = Runs | Lines


def load(root: Path | None, shipped: bool = True) -> list[Record]:
    """All valid records under ``root`` (``<key>/attempts/*.json``), archived ones included, and, with ``shipped``, those of the package."""
    with telling() as left_out:
        return [item.record for source in _sources(root, shipped) for item in _items(source, source.scan(left_out), left_out)]


def groups(root: Path | None, shipped: bool = True, pattern: str = "") -> list[Group]:
    """The groups of all that :func:`load` reads, sorted by task, version, budget, method, its version and ``group``.

    Args:
        pattern: a task, or a family (what stands before the slash of a task's name); all if empty.
    """
    with telling() as left_out:
        made = grouped([part for source in _sources(root, shipped) for part in _attempts(source, pattern, left_out)])
        return _known([group for group in made if pattern in ("", group.task, group.task.split("/")[0])], left_out)


def _sources(root: Path | None, shipped: bool) -> list[Source]:
    """Where records are; of equal ones those of the first count."""
    return [*([Lines(lines.SHIPPED)] if shipped else []), *folders_of(root)]


def _known(made: list[Group], left_out: list[str]) -> list[Group]:
    """Those all of whose metrics are of a kind that is here, not of a package that is gone; a line for ``left_out`` for each other."""
    absent = {key for key in set().union(*{group.measured for group in made}) if not lookup("metrics", parse(key).name)}
    for group in made if absent else ():
        if names := ", ".join(sorted(absent.intersection(group.measured))):
            left_out.append(f"{group.method} on {group.task}, {group.budget}: no metric {names!r} here; {group.n} records are left out")
    return [group for group in made if absent.isdisjoint(group.measured)]


def _attempts(source: Source, pattern: str, left_out: list[str]) -> list[Attempts]:
    """The attempts of ``source`` at runs of tasks of ``pattern``, and maybe others: cached ones from the cache, others from their files.
    Lines are cached where they are many, so that they are read once; runs when :func:`compact` is asked to."""
    state, of_lines = source.state(), isinstance(source, Lines)
    files = source.scan(left_out, pattern) if state is None else {}
    if of_lines and sum(size for size, _ in files.values()) < CHEAP:
        return attempts_of(_items(source, files, left_out))
    cached, covers = cache.read(source.cache, [] if of_lines else left_out, pattern, state)
    if state is not None and covers == state:
        return cached
    files = files if state is None else source.scan(left_out)
    kept, rest = _unchanged(cached, files)
    if of_lines and rest:
        with suppress(OSError):  # a cache that cannot be written
            _compact(source, [])
            kept, rest = _unchanged(cache.read(source.cache, [], pattern)[0], files)
    return [*kept, *attempts_of(_items(source, rest, left_out))]


def _unchanged(cached: Iterable[Attempts], files: Mapping[str, Stat]) -> tuple[list[Attempts], dict[str, Stat]]:
    """The attempts whose files are as they were, and the other files."""
    kept, names = [], set()
    for part in cached:
        stats = zip(part.texts("file"), part.columns["size"].tolist(), part.columns["mtime"].tolist(), strict=True)
        same = np.array([files.get(name) == (size, mtime) for name, size, mtime in stats])
        kept += [part if same.all() else part.take(same)] if same.any() else []
        names.update(itertools.compress(part.texts("file"), same))
    return kept, {name: stat for name, stat in files.items() if name not in names}


def _items(source: Source, files: Mapping[str, Stat], left_out: list[str], whole: bool = False) -> Iterator[Item]:
    """The records in ``files``; of those that are ``whole`` alone, which a cache can stand for: without anything that is no record, which
    must be told each time, and of a name that is UTF-8."""
    for name, stat in files.items():
        before, items = len(left_out), source.read(name, stat, left_out)
        if not whole or len(left_out) == before and name.isprintable():
            yield from items


def compact(root: Path) -> tuple[int, int]:
    """Bring the caches of ``root`` and of its archive up to date; all records stay as they are.

    Returns how many records are cached now, and how many of them were read from files for it. Raises UserError if there is no such folder,
    OSError if it cannot be written.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of runs")
    with telling() as left_out:
        done = [_compact(runs, left_out) for runs in folders_of(root)]
    return sum(records for records, _ in done), sum(fresh for _, fresh in done)


def _compact(source: Source, left_out: list[str]) -> tuple[int, int]:
    """:func:`compact` of one source."""
    source.cache.mkdir(parents=True, exist_ok=True)
    state, broken = source.state(), []  # before its files are listed: what comes later is not covered
    cached, covers = cache.read(source.cache, broken)
    kept, rest = _unchanged(cached, source.scan(left_out))
    new = attempts_of(_items(source, rest, left_out, whole=True))
    records, fresh = sum(part.n for part in kept), sum(part.n for part in new)
    state = state if fresh == len(rest) else None
    if broken or fresh or records < sum(part.n for part in cached) or covers != state:
        common = attrgetter("name", "setting", "spec")
        cache.write(source.cache, [joined([*parts]) for _, parts in groupby(sorted((*kept, *new), key=common), common)], state)
    return records + fresh, fresh


def pack(root: Path, keys: Iterable[str]) -> int:
    """Move the runs ``keys``, finished for good, from ``root`` to ``root/archive``, cache that, and return how many records it holds now.
    A folder is moved by renaming it, so a run is in one place or the other at any moment; the archive's cache becomes valid last.

    Raises UserError, before anything is moved, for a run that is not there, has no record, is being run, or is in the archive already;
    OSError where the folders cannot be written.
    """
    archive, keys = root / ARCHIVE, dict.fromkeys(keys)
    for key in keys:
        folder = root / key
        if os.sep in key or key[:1] in ("", ".") or not any((folder / "attempts").glob("*.json")):
            raise UserError(f"{folder}: no run with a record")
        if (folder / "claim").exists():
            raise UserError(f"{folder}: is being run; archive it when it has ended")
        if (archive / key).exists():
            raise UserError(f"{archive / key}: is in the archive already, with other attempts at the same run")
    archive.mkdir(exist_ok=True)
    for key in keys:
        os.rename(root / key, archive / key)
    flush(archive)
    with telling() as left_out:
        return _compact(Runs(archive, closed=True), left_out)[0]
