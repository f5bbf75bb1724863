"""Reading records and groups of them, whatever is indexed; and indexing them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elboard.bench.errors import UserError
from elboard.bench.kinds import lookup
from elboard.bench.metrics.conventions import parse
from elboard.bench.record import ARCHIVE, Record, flush
from elboard.results.store import lines
from elboard.results.store.files import Item, Runs, Stat, folders_of, tell, uncollected
from elboard.results.store.groups import Board, Group, Rows, board_of, groups_in, joined, matches, rows_of
from elboard.results.store.index import Broken, Index, tidy, write
from elboard.results.store.lines import Lines

HELD = 20_000  # records held in memory at a time
CHEAP = 2**20  # bytes of lines that are read in less time than DuckDB takes to start
Source = Runs | Lines


@dataclass(frozen=True)
class Compacted:
    """What :func:`compact` did: records that are indexed now, and those of them that were read from files for it."""

    records: int
    fresh: int


def load(root: Path | None, shipped: bool = True) -> list[Record]:
    """All valid records under ``root`` (``<key>/attempts/*.json``), archived ones included, and, with ``shipped``, those of the package.

    A file that is not a valid record is left out with a warning of one line; of more than five, five and the number of the rest are told.
    """
    left_out: list[str] = []
    records = []
    for source in _sources(root, shipped):
        for content in source.read(source.scan(left_out)):
            records += [item.record for item in content.items]
            left_out += content.invalid
    tell(left_out)
    return records


def groups(root: Path | None, shipped: bool = True, pattern: str = "") -> list[Group]:
    """All groups of the records under ``root``, archived ones included, and, with ``shipped``, of those of the package.

    The answer does not depend on what is indexed. Sorted by task, version, budget, method, its version and ``group``. Warns, in a line
    each, of files that are left out (of five and the number of the rest where there are more).

    Args:
        pattern: a task, or a family (what stands before the slash of a task's name); all if empty.
    """
    left_out: list[str] = []
    by_board: dict[Board, list[Rows]] = defaultdict(list)
    with uncollected():
        for rows in (rows for source in _sources(root, shipped) for rows in _rows(source, pattern, left_out)):
            by_board[rows.board].append(rows)
        made = [group for board in sorted(by_board) for group in groups_in(joined(by_board[board]))]
    known = _known(made, left_out)
    tell(left_out)
    return known


def _sources(root: Path | None, shipped: bool) -> list[Source]:
    """Where records are; of equal ones those of the first count."""
    return [*([Lines(lines.SHIPPED)] if shipped else []), *folders_of(root)]


def _known(made: list[Group], left_out: list[str]) -> list[Group]:
    """Those whose metrics all are of a kind that is here, as those of a package that is no longer installed are not; a line for each other
    is added to ``left_out``."""
    absent = {key for key in {key for group in made for key in group.metrics} if not lookup("metrics", parse(key).name)}
    known = []
    for group in made:
        names = ", ".join(sorted(absent & group.metrics.keys()))
        if names:
            left_out.append(f"{group.method} on {group.task}, {group.budget}: no metric {names!r} here; {group.n} records are left out")
        else:
            known.append(group)
    return known


def _rows(source: Source, pattern: str, left_out: list[str]) -> Iterator[Rows]:
    """The rows of the records of ``source`` on boards of ``pattern``: indexed ones from the index, others from their files.

    Lines are indexed when there are many to be read, so that they are read once; runs when :func:`compact` is asked to.
    """
    files = {} if source.closed else source.scan(left_out, pattern)
    if isinstance(source, Lines) and _bytes(files) < CHEAP:
        yield from _read(source, files, left_out, pattern)
        return
    broken: list[str] = []
    index, rows = _indexed(source, pattern, broken)
    if source.closed and index is not None and index.covers == source.state():
        rest = dict.fromkeys(index.unread, (0, 0))
    else:
        files = files or source.scan(left_out, pattern)
        rows, rest = _fresh(rows, files)
    if isinstance(source, Lines) and _bytes(rest) >= CHEAP:
        with suppress(OSError):  # a cache that cannot be written
            _compact(source, [])
            rows, rest = _fresh(_indexed(source, pattern, [])[1], files)
    left_out += broken if isinstance(source, Runs) else []
    yield from rows
    yield from _read(source, rest, left_out, pattern)


def _bytes(files: Mapping[str, Stat]) -> int:
    return sum(size for size, _ in files.values())


def _indexed(source: Source, pattern: str, broken: list[str]) -> tuple[Index | None, list[Rows]]:
    """The index of ``source`` and its rows of ``pattern``; what cannot be read of it is added to ``broken``."""
    while True:
        index = None
        try:
            index = Index(source.index)
            return index, index.rows(lambda task: matches(task, pattern))
        except Broken as error:
            if index is None or not index.replaced:
                broken.append(str(error))
                return None, []


def _fresh(parts: Iterable[Rows], files: Mapping[str, Stat]) -> tuple[list[Rows], dict[str, Stat]]:
    """The rows whose files are as they were, and the other files."""
    kept, names = [], set()
    for rows in parts:
        stats = zip(*(rows.columns[name].tolist() for name in ("file", "size", "mtime")), strict=True)
        same = np.array([files.get(name) == (size, mtime) for name, size, mtime in stats], dtype=bool)
        kept += [rows.take(same)] if same.any() else []
        names.update(rows.columns["file"][same].tolist())
    return kept, {name: stat for name, stat in files.items() if name not in names}


def _read(
    source: Source, files: Mapping[str, Stat], left_out: list[str], pattern: str = "", unread: list[str] | None = None
) -> Iterator[Rows]:
    """The rows of the records in ``files`` on boards of ``pattern``.

    ``unread``, where it is given, is told the files that an index cannot stand for, of which no rows are made then: with something that is
    no record, which must be told each time, and of a name that is no UTF-8.
    """
    held: dict[Board, list[tuple[Item, tuple[str, Stat]]]] = defaultdict(list)
    count = 0
    for name, items, invalid in source.read(files):
        left_out += invalid
        if unread is not None and (invalid or name != name.encode("utf-8", "ignore").decode()):
            unread.append(name)
            continue
        for item in items:
            if matches(item.record.spec["task"], pattern):
                held[board_of(item.record)].append((item, (name, files[name])))
                count += 1
        if count >= HELD:
            yield from _rows_of(held)
            count = 0
    yield from _rows_of(held)


def _rows_of(held: dict[Board, list[tuple[Item, tuple[str, Stat]]]]) -> Iterator[Rows]:
    """The rows of what is ``held`` of each board, which is no longer held then."""
    while held:
        board, of_board = held.popitem()
        yield rows_of(board, *map(list, zip(*of_board, strict=True)))


def compact(root: Path) -> Compacted:
    """Bring the index of ``root`` and that of its archive up to date; all records stay as they are. Warns of files that are left out.

    Raises UserError if there is no such folder or it cannot be written.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of runs")
    left_out: list[str] = []
    try:
        done = [_compact(runs, left_out) for runs in folders_of(root)]
    except OSError as error:
        raise UserError(f"{error.filename or root}: cannot be written ({error.strerror})") from None
    tell(left_out)
    return Compacted(sum(one.records for one in done), sum(one.fresh for one in done))


def _compact(source: Source, left_out: list[str]) -> Compacted:
    """:func:`compact` of one source. Raises OSError."""
    source.index.mkdir(parents=True, exist_ok=True)
    covers = source.state() if source.closed else None  # before its files are listed: what comes later is not covered
    index, parts = _indexed(source, "", [])
    files, unread = source.scan(left_out), []
    kept, rest = _fresh(parts, files)
    new = [*_read(source, rest, left_out, unread=unread)]
    records, fresh = sum(map(len, kept)), sum(map(len, new))
    if index is None or fresh or records < sum(map(len, parts)) or (index.covers, index.unread) != (covers, unread):
        by_board = {board: [rows for rows in (*kept, *new) if rows.board == board] for board in {rows.board for rows in (*kept, *new)}}
        write(source.index, [joined(by_board[board]) for board in sorted(by_board)], covers, unread)
    tidy(source.index, index and index.parquet)
    return Compacted(records + fresh, fresh)


def pack(root: Path, keys: Iterable[str]) -> Compacted:
    """Move the runs ``keys``, finished for good, with all that is in their folders, from ``root`` to ``root/archive``, and index it.

    A folder is moved by renaming it, so a run is in one place or the other at any moment; the archive's index becomes valid last.

    Raises UserError, before anything is moved, for a run that is not there, has no record, is being run, or is in the archive already.
    """
    root = Path(root)
    archive = root / ARCHIVE
    keys = list(dict.fromkeys(keys))
    for key in keys:
        folder = root / key
        if os.sep in key or key[:1] in ("", ".") or not any((folder / "attempts").glob("*.json")):
            raise UserError(f"{folder}: no run with a record")
        if (folder / "claim").exists():
            raise UserError(f"{folder}: is being run; archive it when it has ended")
        if (archive / key).exists():
            raise UserError(f"{archive / key}: is in the archive already, with other attempts at the same run")
    left_out: list[str] = []
    try:
        archive.mkdir(exist_ok=True)
        for key in keys:
            os.rename(root / key, archive / key)
        flush(archive)
        done = _compact(Runs(archive, closed=True), left_out)
    except OSError as error:
        raise UserError(f"{error.filename or archive}: cannot be written ({error.strerror})") from None
    tell(left_out)
    return done
