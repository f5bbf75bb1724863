"""Groups: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import Record
from results.store import index
from results.store.files import homes, read_all, scan, shipped_files, tell
from results.store.rows import Board, Rows, board_of, effective, group_codes, joined, matches, order, rows_of, texts_of, with_seed


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`bench.record.effective`); trials of searches are left out. ``keys``,
    ``attempts``, ``seeds``, ``metrics`` and ``cost`` are those of the n finished runs, ordered by seed, then key.

    Attributes:
        group: hash of what the runs have in common.
        spec: ``RunSpec.to_dict()`` of the finished run with the smallest seed, of a failed one where none has finished.
        seeds: (n,) int64.
        metrics: key of the metric -> (n,) float64, NaN for a run without it.
        cost: name -> (n,) float64, NaN likewise.
        failed: number of keys whose effective record is a failed one.
        notes: of the same run as ``spec``, those that boards show (``search``: which search chose the configuration).
    """

    task: str
    task_version: int
    budget: str
    method: str
    method_version: int
    group: str
    spec: dict
    keys: tuple[str, ...]
    attempts: tuple[str, ...]
    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    failed: int
    notes: dict


class _Read(Group):
    """A group whose ids become text when they are asked for: for a million runs that takes longer than all else together."""

    def __init__(self, keys: np.ndarray, attempts: np.ndarray, **fields: Any) -> None:
        self.__dict__.update(fields, _keys=keys, _attempts=attempts)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return texts_of(self._keys, 16)

    @cached_property
    def attempts(self) -> tuple[str, ...]:
        return texts_of(self._attempts, 12)


def groups(root: Path | None, shipped: bool = True, pattern: str = "") -> list[Group]:
    """All groups of the records under ``root``, archived ones included, and, with ``shipped``, of those of the package.

    The answer does not depend on what is indexed. Sorted by task, version, budget, method, its version and ``group``. Warns, in a line
    each, of files that are left out (of five and the number of the rest where there are more).

    Args:
        pattern: a task, or a family (what stands before the slash of a task's name); all if empty.
    """
    broken: set[Path] = set()
    while True:
        left_out: list[str] = []
        try:
            with index.Reader() as reader:
                by_board = _collect(reader, root, shipped, pattern, left_out, broken)
        except index.BrokenPart as error:  # or one that a compaction has just replaced: what it held is read from elsewhere
            broken.add(error.path)
            continue
        tell(left_out)
        return [group for board in sorted(by_board) for group in _groups(joined(by_board[board]))]


def groups_of(found: Iterable[Record]) -> list[Group]:
    """:func:`groups` of records in memory."""
    records: dict[Board, list[Record]] = defaultdict(list)
    for record in found:
        records[board_of(record)].append(record)
    return [group for board in sorted(records) for group in _groups(rows_of(board, records[board]))]


def _collect(
    reader: index.Reader, root: Path | None, shipped: bool, pattern: str, left_out: list[str], broken: set[Path]
) -> dict[Board, list[Rows]]:
    """Rows of each board, from files and from parts. Raises BrokenPart."""
    loose = shipped_files() if shipped else []
    parts: dict[Board, list[tuple[index.Part, np.ndarray | None]]] = defaultdict(list)
    for home in homes(root):
        covered = reader.whole(home, pattern, left_out, broken) if home != Path(root) else None
        if covered is None:
            files = scan(home, left_out)
            found, names = reader.compare(reader.parts(home, left_out, broken), files)
            loose += [home / name for name in files if name not in names]
        else:
            found = [(part, None) for part in covered]
        for part, fresh in found:
            if matches(part.board[0], pattern):
                parts[part.board].append((part, fresh))
    records: dict[Board, list[Record]] = defaultdict(list)
    for _, _, record in read_all(loose, left_out):
        if matches(record.spec["task"], pattern):
            records[board_of(record)].append(record)
    by_board = {board: [rows_of(board, found)] for board, found in records.items()}
    alone = {board for board, found in parts.items() if len(found) == 1 and board not in records and found[0][1] is None}
    for kind in (True, False):
        wanted = [source for board, found in parts.items() for source in found if (board in alone) is kind]
        for rows in reader.rows(wanted, kind):
            by_board.setdefault(rows.board, []).append(rows)
    return by_board


def _groups(rows: Rows) -> Iterator[Group]:
    """The groups of one board."""
    if rows.ended is not None:
        rows = rows.take(effective(rows))
        rows = rows.take(~rows.trial)
    said, code = group_codes(rows)
    if not _ordered(rows, code):
        by = order(rows, code)
        rows, code = rows.take(by), code[by]
    finished = int(np.count_nonzero(rows.done))
    done = rows.take(slice(finished))
    numbers = np.arange(code.max(initial=-1) + 2)
    edges, failed = np.searchsorted(code[:finished], numbers), finished + np.searchsorted(code[finished:], numbers)
    present = [_present(columns, edges) for columns in (done.metrics, done.cost)]
    for i in numbers[:-1].tolist():
        low, high = edges[i], edges[i + 1]
        first = low if high > low else failed[i]
        if first >= failed[i + 1]:
            continue  # trials of a search alone
        tree = said[rows.setting[first]]
        metrics, cost = ({name: column[low:high] for name, column, there in found if there[i]} for found in present)
        yield _Read(
            keys=done.key[low:high],
            attempts=done.attempt[low:high],
            task=rows.board[0],
            task_version=rows.board[1],
            budget=rows.board[2],
            method=tree["spec"]["method"],
            method_version=tree["spec"]["method_version"],
            group=tree["group"],
            spec=with_seed(tree["spec"], int(rows.seed[first])),
            seeds=done.seed[low:high],
            metrics=metrics,
            cost=cost,
            failed=int(failed[i + 1] - failed[i]),
            notes=tree["notes"],
        )


def _ordered(rows: Rows, code: np.ndarray) -> bool:
    """Whether rows are in the order that groups need already, no seed of a group twice."""
    place = np.where(rows.done, code, code + code.max(initial=0) + 1)
    return bool(((place[1:] > place[:-1]) | (place[1:] == place[:-1]) & (rows.seed[1:] > rows.seed[:-1])).all())


def _present(columns: dict[str, np.ndarray], edges: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each column with a mark for every group: whether any of its runs has a value."""
    found = []
    for name, column in columns.items():
        absent = np.isnan(column)
        if absent.any():
            there = np.concatenate([[0], np.cumsum(~absent)])
            found.append((name, column, there[edges[1:]] > there[edges[:-1]]))
        else:
            found.append((name, column, edges[1:] > edges[:-1]))
    return found
