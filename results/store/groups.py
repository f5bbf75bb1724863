"""Finding groups: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import convention
from elboard.bench.record import Record
from elboard.results.store import index
from elboard.results.store.files import read_all, read_shipped, tell
from elboard.results.store.grouping import Group, groups_in
from elboard.results.store.homes import Package, homes, package
from elboard.results.store.lazy import Lazy, Shelf, names_in
from elboard.results.store.rows import Board, Rows, board_of, joined, matches, name_of, rows_of


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
                lazy, rest = _sort_out(parts, rows, settings, partial(_again, root, shipped, frozenset(broken)))
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
    said: dict[str, str] = {}
    for key in {key for group in found for key in group.metrics}:
        try:
            convention(key)
        except UserError as error:
            said[key] = str(error)
    strange = [next((key for key in group.metrics if key in said), "") for group in found] if said else [""] * len(found)
    for group, key in zip(found, strange, strict=True):
        if key:
            left_out.append(f"{group.method} on {group.task}, {group.budget}: {said[key]}; {group.n} records are left out")
    return [group for group, key in zip(found, strange, strict=True) if not key]


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
    if shipped and root is None:
        found += read_shipped(pattern, left_out)
    for home in [*homes(root), *([package(root)] if shipped and root is not None else [])]:
        covered = reader.whole(home, pattern, left_out, broken) if home.closed else None
        if covered is not None:
            sources = [index.Source(part) for part in covered]
        elif isinstance(home, Package):
            sources = []
            found += read_shipped(pattern, left_out)
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
    again: partial[list[Group]],
) -> tuple[dict[Board, list[Group]], list[index.Source]]:
    """By board the groups that one whole part alone has, and the rows of parts that make groups with others or with ``rows``."""
    lazy: dict[Board, list[Group]] = defaultdict(list)
    rest: list[index.Source] = []
    for board, sources in parts.items():
        named = [names_in(of.part, settings[of.part.path]) for of in sources]
        held = Counter(name for of_part in named for name, _, _ in of_part)
        held.update({name_of(json.loads(text)) for of in rows.get(board, ()) for text in of.settings})
        for of, of_part in zip(sources, named, strict=True):
            shelf = Shelf(of.part, settings[of.part.path], partial(again, board))
            shared = [told for name, told, _ in of_part if held[name] > 1]
            if of.fresh is not None:
                rest.append(of)
            elif len(shared) == len(of_part):
                rest.append(index.Source(of.part))
            else:
                rest += [index.Source(of.part, groups=shared)] if shared else []
                lazy[board] += [Lazy(shelf, told, tree) for name, told, tree in of_part if held[name] == 1 and told.n + told.failed]
    return lazy, rest


def _again(root: Path | None, shipped: bool, broken: frozenset[Path], board: Board, path: Path) -> list[Group]:
    """The present groups of ``board`` without the part at ``path``."""
    found = groups(root, shipped, board[0], {*broken, path})
    return [group for group in found if (group.task, group.task_version, group.budget) == board]
