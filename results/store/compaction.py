"""Writing the index of a folder of runs, and archiving runs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from elboard.bench.errors import UserError
from elboard.bench.record import ARCHIVE, Record, flush
from elboard.results.store import index
from elboard.results.store.homes import Home, Stat, homes, read_all, tell
from elboard.results.store.rows import Board, board_of, joined, rows_of

HELD = 100_000  # records held in memory at a time, and size from which a part is never written again
FEW = 12  # smaller parts of one board that may stay apart


@dataclass(frozen=True)
class Compacted:
    """What :func:`compact` did: records that parts hold now, those of them that were read from files for it, parts, parts removed."""

    records: int
    fresh: int
    parts: int
    removed: int


def compact(root: Path) -> Compacted:
    """Bring the index of ``root`` and that of its archive up to date; all records stay as they are.

    Parts that hold a record that has changed or gone, or that are truncated, are written anew; so are parts of one board once there are
    many small ones, in an archive once there are two: boards read no value of a group that one part alone has. Several processes may do it
    at once: records that two parts hold count once. Warns of files that are left out.

    Raises UserError if there is no such folder or it cannot be written.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of runs")
    left_out: list[str] = []
    try:
        done = [_compact(home, left_out, few=1 if home.closed else FEW) for home in homes(root)]
    except OSError as error:
        raise UserError(f"{error.filename or root}: cannot be written ({error.strerror})") from None
    tell(left_out)
    return Compacted(*(sum(getattr(one, name) for one in done) for name in Compacted.__dataclass_fields__))


def _compact(home: Home, left_out: list[str], few: int) -> Compacted:
    """:func:`compact` of one folder; of a closed one it is noted what the index covers. ``few``: small parts of a board that may stay."""
    home.index.mkdir(parents=True, exist_ok=True)
    index.sweep_drafts(home)
    before = home.state()
    invalid: list[str] = []
    files = home.scan(invalid)
    with index.Reader() as reader:
        kept, old, covered = _sort_out(reader, home, files)
        # a part cannot hold the name of a file that is no UTF-8: such a record is read from its file each time
        rest = {name: stat for name, stat in files.items() if name not in covered and name == name.encode("utf-8", "ignore").decode()}
        new, fresh = _write(reader, home, rest, invalid)
        parts, replaced = _merge(reader, home, [*(part.path for part in kept), *new], few)
        old += replaced
    for path in old:
        path.unlink(missing_ok=True)
    if home.closed:
        index.cover(home, before, parts, invalid)
    left_out += invalid
    return Compacted(len(covered) + fresh, fresh, len(parts), len(set(old) - set(new)))


def _sort_out(reader: index.Reader, home: Home, files: Mapping[str, Stat]) -> tuple[list[index.Part], list[Path], set[str]]:
    """The parts that stay, the files of those that go, and the names of the records that the former hold."""
    paths = sorted(home.index.glob("*.parquet"))
    found_fresh, seen = [], set()
    for part in filter(None, reader.open(paths)):
        try:
            fresh, names = reader.compare([part], files)
        except index.BrokenPart:
            continue
        if fresh and fresh[0].fresh is None and not names <= seen:  # else nothing of it is fresh, something is not, or others hold it all
            found_fresh.append(part)
            seen |= names
    stay = {part.path for part in found_fresh}
    return found_fresh, [path for path in paths if path not in stay], seen


def _write(reader: index.Reader, home: Home, files: Mapping[str, Stat], left_out: list[str]) -> tuple[list[Path], int]:
    """Write parts that hold the records of ``files``; their paths, and the number of records."""
    held: dict[Board, list[tuple[str, str, Record]]] = defaultdict(list)
    written: list[Path] = []
    count = waiting = 0

    def write(board: Board) -> int:
        found = held.pop(board)
        names = [(name, files[name]) for name, _, _ in found]
        written.append(reader.write(home, rows_of(board, [record for _, _, record in found]), names, [text for _, text, _ in found]))
        return len(found)

    for file, content, record in read_all((home.folder / name for name in files), left_out):
        held[board_of(record)].append((file.relative_to(home.folder).as_posix(), content.decode("utf-8"), record))
        waiting += 1
        if waiting >= HELD:
            done = write(max(held, key=lambda board: len(held[board])))
            count, waiting = count + done, waiting - done
    for board in sorted(held):
        count += write(board)
    return written, count


def _merge(reader: index.Reader, home: Home, paths: list[Path], few: int) -> tuple[list[Path], list[Path]]:
    """Write small parts of one board as one where there are more than ``few``; all paths of parts then, and those of parts that are no
    longer of use."""
    by_board: dict[Board, list[index.Part]] = defaultdict(list)
    for part in filter(None, reader.open(paths)):
        by_board[part.board].append(part)
    new, old = [], []
    for parts in by_board.values():
        parts.sort(key=lambda part: part.rows)
        sizes = np.cumsum([part.rows for part in parts])
        small = parts[: int(np.searchsorted(sizes, HELD, side="right"))]
        if len(small) > few:
            with suppress(index.BrokenPart):  # it is left to its readers, who say so
                new.append(_as_one(reader, home, small))
                old += [part.path for part in small]
    return [path for path in paths if path not in set(old)] + new, old


def _as_one(reader: index.Reader, home: Home, parts: Sequence[index.Part]) -> Path:
    """Write a part with the records of ``parts``, each once. Raises BrokenPart."""
    settings = reader.settings(parts)
    rows = joined([reader.rows([index.Source(part)], settings)[0] for part in parts])
    files, contents = (list(chain.from_iterable(found)) for found in zip(*map(reader.stored, parts), strict=True))
    first = list({name: i for i, (name, _) in reversed([*enumerate(files)])}.values())
    return reader.write(home, rows.take(np.array(first)), [files[i] for i in first], [contents[i] for i in first])


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
    try:
        archive.mkdir(exist_ok=True)
        for key in keys:
            os.rename(root / key, archive / key)
        flush(archive)
        left_out: list[str] = []
        done = _compact(next(home for home in homes(root) if home.closed), left_out, FEW)
    except OSError as error:
        raise UserError(f"{error.filename or archive}: cannot be written ({error.strerror})") from None
    tell(left_out)
    return done
