"""Finding records, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of.

Values of groups stay in their part until they are asked for: boards whose statistics are kept need the names, numbers and hashes of groups
alone, which parts say of themselves; to read the values of a million runs takes longer than all else together.
"""

from __future__ import annotations

import json
from collections import Counter, UserDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from elboard.bench.errors import UserError
from elboard.bench.kinds import lookup
from elboard.bench.metrics.conventions import parse
from elboard.bench.record import Record
from elboard.results.store import index
from elboard.results.store.homes import Home, homes, read_all, tell
from elboard.results.store.lines import lines
from elboard.results.store.rows import Board, Group, Later, Name, Rows, Told, board_of, groups_in, joined, matches, name_of, rows_of, shared


def load(root: Path | None, shipped: bool = True) -> list[Record]:
    """All valid records under ``root`` (``<key>/attempts/*.json``), archived ones included, and, with ``shipped``, those of the package.

    A file that is not a valid record is left out with a warning of one line; of more than five, five and the number of the rest are told.
    """
    left_out: list[str] = []
    found = [line.record for line in lines("", left_out)] if shipped else []
    for home in homes(root):
        texts = _archived(home, left_out)
        files = (home.folder / name for name in home.scan(left_out)) if texts is None else texts
        found += [record for _, _, record in read_all(files, left_out, Path.read_bytes if texts is None else texts.__getitem__)]
    tell(left_out)
    return found


def _archived(home: Home, left_out: list[str]) -> dict[Path, bytes] | None:
    """The files of an archive as its parts hold them, in their order, or None if these do not hold them all."""
    said: list[str] = []
    with index.Reader() as reader, suppress(index.BrokenPart):
        parts = reader.whole(home, "", said)
        if parts is not None:
            texts = {name: text for part in parts for (name, _), text in zip(*reader.stored(part), strict=True)}
            left_out += said
            return {home.folder / name: texts[name].encode() for name in sorted(texts)}
    return None


def groups(root: Path | None, shipped: bool = True, pattern: str = "", without: Collection[Path] = ()) -> list[Group]:
    """All groups of the records under ``root``, archived ones included, and, with ``shipped``, of those of the package.

    The answer does not depend on what is indexed. Sorted by task, version, budget, method, its version and ``group``. Warns, in a line
    each, of files that are left out (of five and the number of the rest where there are more).

    The values of a group that one part of an index alone has are read when they are first asked for. If the part has gone or broken by
    then, they are read from elsewhere; where the records are no longer the same, asking raises UserError.

    Args:
        pattern: a task, or a family (what stands before the slash of a task's name); all if empty.
        without: parts of indexes that are known to be broken.
    """
    broken = set(without)
    while True:
        left_out: list[str] = []
        try:
            with index.Reader() as reader:
                found, parts = _collect(reader, root, shipped, pattern, left_out, broken)
                rows = {board: [rows_of(board, records)] for board, records in _by_board(found, pattern).items()}
                settings = reader.settings([of.part for of_board in parts.values() for of in of_board])
                lazy, rest = _sort_out(parts, rows, settings, lambda part: groups(root, shipped, part.board[0], {*broken, part.path}))
                for one in reader.rows(rest, settings):
                    rows.setdefault(one.board, []).append(one)
        except index.BrokenPart as error:  # or one that a compaction has just replaced: what it held is read from elsewhere
            broken.add(error.path)
            continue
        made = {board: [*groups_in(joined(of_board))] for board, of_board in rows.items()}
        every = {board: [*made.get(board, []), *lazy.get(board, [])] for board in sorted({*made, *lazy})}
        known = _known([group for of_board in every.values() for group in sorted(of_board, key=lambda group: group.name)], left_out)
        tell(left_out)
        return known


def _known(found: list[Group], left_out: list[str]) -> list[Group]:
    """Those whose metrics all are of a kind that is here, as those of a package that is no longer installed are not; a line for each other
    is added to ``left_out``."""
    absent = {key for key in {key for group in found for key in group.metrics} if not lookup("metrics", parse(key).name)}
    known = []
    for group in found:
        names = ", ".join(sorted(absent & group.metrics.keys()))
        if names:
            left_out.append(f"{group.method} on {group.task}, {group.budget}: no metric {names!r} here; {group.n} records are left out")
        else:
            known.append(group)
    return known


def groups_of(found: Iterable[Record]) -> list[Group]:
    """:func:`groups` of records in memory."""
    by_board = _by_board(found)
    return [group for board in sorted(by_board) for group in groups_in(rows_of(board, by_board[board]))]


def _by_board(found: Iterable[Record], pattern: str = "") -> dict[Board, list[Record]]:
    by_board: dict[Board, list[Record]] = defaultdict(list)
    for record in found:
        if matches(record.spec["task"], pattern):
            by_board[board_of(record)].append(record)
    return by_board


def _collect(
    reader: index.Reader, root: Path | None, shipped: bool, pattern: str, left_out: list[str], broken: set[Path]
) -> tuple[list[Record], dict[Board, list[index.Source]]]:
    """The records that no part holds as they are, and of each board the rows of parts that stand for the others. Raises BrokenPart."""
    found: list[Record] = []
    parts: dict[Board, list[index.Source]] = defaultdict(list)
    if shipped:
        found += [line.record for line in lines(pattern, left_out)]
    for home in homes(root):
        covered = reader.whole(home, pattern, left_out, broken)
        if covered is not None:
            sources = [index.Source(part) for part in covered]
        else:
            files = home.scan(left_out)
            sources, names = reader.compare(reader.parts(home, left_out, broken), files)
            found += [record for _, _, record in read_all((home.folder / name for name in files if name not in names), left_out)]
        for of in sources:
            if matches(of.part.board[0], pattern):
                parts[of.part.board].append(of)
    return found, parts


def _sort_out(
    parts: Mapping[Board, Sequence[index.Source]],
    rows: Mapping[Board, Sequence[Rows]],
    settings: Mapping[Path, list[str]],
    again: Callable[[index.Part], list[Group]],
) -> tuple[dict[Board, list[Group]], list[index.Source]]:
    """By board the groups that one whole part alone has, and the rows of parts that make groups with others or with ``rows``."""
    lazy: dict[Board, list[Group]] = defaultdict(list)
    rest: list[index.Source] = []
    for board, sources in parts.items():
        named = [_names_in(of.part, settings[of.part.path]) for of in sources]
        held = Counter(name for of_part in named for name, _, _ in of_part)
        held.update({name_of(json.loads(text)) for of in rows.get(board, ()) for text in of.settings})
        for of, of_part in zip(sources, named, strict=True):
            shelf = Shelf(of.part, settings[of.part.path], partial(again, of.part))
            mixed = [told for name, told, _ in of_part if held[name] > 1]
            if of.fresh is not None:
                rest.append(of)
            elif len(mixed) == len(of_part):
                rest.append(index.Source(of.part))
            else:
                rest += [index.Source(of.part, groups=mixed)] if mixed else []
                lazy[board] += [Lazy(shelf, told, tree) for name, told, tree in of_part if held[name] == 1 and told.n + told.failed]
    return lazy, rest


def _names_in(part: index.Part, settings: list[str]) -> list[tuple[Name, Told, dict]]:
    """The groups of a part with their names and, decoded, the settings of their specifications. Raises BrokenPart."""
    try:
        trees = [json.loads(settings[told.settings[0]]) for told in part.groups]
        return [(name_of(tree), told, tree) for told, tree in zip(part.groups, trees, strict=True)]
    except (ValueError, LookupError, TypeError):
        raise index.BrokenPart(part.path) from None


@dataclass
class Shelf:
    """The values of the groups of one part, read together when the first of them is asked for, and kept.

    ``settings`` are the part's. ``again`` gives the present groups of its board without the part: what is used where it can no longer be
    read.
    """

    part: index.Part
    settings: list[str]
    again: Callable[[], list[Group]]
    found: dict[Name, Group] | None = None
    elsewhere: bool = False
    lock: Lock = field(default_factory=Lock)  # boards are made in several threads

    def group(self, of: Lazy) -> Group:
        """The group that ``of`` stands for, with its values. Raises UserError where its runs are no longer the same."""
        with self.lock:
            if self.found is None:
                self.found = self._read()
        found = self.found.get(of.name)
        if found is None or found.n != of.n or self.elsewhere and found.digest != of.digest:
            what = f"{of.method} on {of.task} v{of.task_version}, {of.budget}"
            raise UserError(f"{self.part.path}: cannot be read, and the records of {what} have changed since; repeat the command")
        return found

    def _read(self) -> dict[Name, Group]:
        try:
            with index.Reader() as reader:
                found = [*groups_in(reader.counted(self.part, self.settings))]
        except index.BrokenPart:
            self.elsewhere, found = True, self.again()
        return {group.name: group for group in found}


class Values(UserDict[str, np.ndarray]):
    """Values by name; the names, those of the part whose ``bits`` are set, are there without a look at the values."""

    def __init__(self, names: Iterable[str], bits: int, read: Callable[[], Mapping[str, np.ndarray]]) -> None:
        super().__init__(dict.fromkeys(name for i, name in enumerate(names) if bits >> i & 1))
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.data:
            raise KeyError(name)
        return self._read()[name]


class Lazy(Later):
    """A group that one part alone has, all of whose records are as they were when it was written."""

    def __init__(self, shelf: Shelf, told: Told, tree: Mapping[str, Any]) -> None:
        part = shelf.part
        super().__init__(
            {name: lambda name=name: getattr(shelf.group(self), name) for name in ("keys", "attempts", "seeds")},
            metrics=Values(part.metrics, told.metrics, lambda: shelf.group(self).metrics),
            cost=Values(part.cost, told.cost, lambda: shelf.group(self).cost),
            failed=told.failed,
            digest=told.digest,
            shelf=shelf,
            n=told.n,
            **shared(part.board, tree, told.seed),
        )

    @property
    def read(self) -> bool:
        return self.shelf.found is not None
