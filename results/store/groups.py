"""Attempts column by column, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from elboard.bench.config import RunSpec
from elboard.bench.identity import configuration, group_of, reseeded
from elboard.bench.record import Record
from elboard.results.said import BADGES
from elboard.results.store.files import Item, Stat

Board = tuple[str, int, str]  # task, its version, budget
KEPT = ("search",)  # notes that boards show
WORDS = ("", *BADGES)  # what ``Rows.badge`` numbers
VALUES = ("metrics", "later", "cost")  # kinds of values: ``later`` are metrics that were computed later
KINDS = {  # columns of rows: how NumPy keeps them
    "key": np.uint64,
    "attempt": object,
    "done": bool,
    "trial": bool,
    "seed": np.int64,
    "setting": np.int32,
    "badge": np.uint8,
    "ended": object,
    "file": object,
    "size": np.int64,
    "mtime": np.int64,
}


@dataclass
class Rows:
    """Attempts at runs of one task, version and budget: a row each.

    Attributes:
        columns: name -> (n,), the names those of KINDS. ``key`` is the number that a key is in hexadecimal, ``setting`` a place in
            ``settings``, ``badge`` one in WORDS; a ``trial`` of a search is on no board; ``file``, ``size``, ``mtime`` say where it was.
            Values are there as well: (n,) float64, NaN where absent, by their kind in VALUES and name, sorted.
        settings: JSON texts of what does not depend on the seed (:func:`setting_of`).
    """

    board: Board
    columns: dict[str | tuple[str, str], np.ndarray]
    settings: list[str]

    @property
    def values(self) -> list[tuple[str, str]]:
        """The names of values."""
        return [name for name in self.columns if name not in KINDS]

    def __len__(self) -> int:
        return len(self.columns["key"])

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows that ``index`` picks, in its order; a slice copies nothing."""
        return replace(self, columns={name: column[index] for name, column in self.columns.items()})


def array_of(values: Sequence[Any], kind: Any) -> np.ndarray:
    """(n,) of ``values``; of object whatever they are."""
    return np.array([*values, None], dtype=object)[:-1] if kind is object else np.array(values, dtype=kind)


def board_of(record: Record) -> Board:
    """The board that ``record`` belongs to."""
    return record.spec["task"], record.spec["task_version"], record.spec["budget"]


def matches(task: str, pattern: str) -> bool:
    """Whether ``pattern`` is empty, the task or its family."""
    return pattern in ("", task, task.split("/")[0])


def setting_of(record: Record) -> str:
    """What runs that differ in their seed alone have in common, as JSON: ``{"group", "identity", "spec", "notes"}``.

    ``identity`` is the tree of the key without the seed, ``group`` its hash, ``spec`` that of the run with seed 0; ``notes`` are those that
    boards show.
    """
    notes = {name: record.notes[name] for name in KEPT if name in record.notes}
    spec = reseeded(record.spec, record.identity, 0)
    said = {"group": group_of(record.identity), "identity": configuration(record.identity), "spec": spec, "notes": notes}
    return json.dumps(said, sort_keys=True)


def rows_of(board: Board, items: Sequence[Item], files: Sequence[tuple[str, Stat]] = ()) -> Rows:
    """Rows of records of one board, in their order, with the ``files`` that they are from, their sizes and times."""
    numbers: dict[str, int] = {}
    rows = []
    for item, (name, (size, mtime)) in zip(items, files or [("", (0, 0))] * len(items), strict=True):
        record = item.record
        setting = numbers.setdefault(setting_of(record), len(numbers))
        row = {
            "key": int(record.key, 16),
            "attempt": record.attempt,
            "seed": record.spec["seed"],
            "setting": setting,
            "ended": record.ended,
        }
        row |= {"done": record.status == "done", "trial": "trial" in record.notes, "badge": WORDS.index(item.badge)}
        row |= {"file": name, "size": size, "mtime": mtime}
        for kind, values in zip(VALUES, (record.metrics, item.later, record.cost), strict=True):
            row |= {(kind, name): value for name, value in values.items()}
        rows.append(row)
    names = [*KINDS, *sorted({name for row in rows for name in row} - {*KINDS})]
    columns = {name: array_of([row.get(name, np.nan) for row in rows], KINDS.get(name, np.float64)) for name in names}
    return Rows(board, columns, list(numbers))


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several sources of one board, one after the other."""
    if len(parts) == 1:
        return parts[0]
    numbers: dict[str, int] = {}
    renumbered = [np.array([numbers.setdefault(text, len(numbers)) for text in rows.settings], dtype=np.int32) for rows in parts]
    names = [*KINDS, *sorted({name for rows in parts for name in rows.values})]
    absent = [np.full(len(rows), np.nan) for rows in parts]
    columns = {name: np.concatenate([of.columns.get(name, nan) for of, nan in zip(parts, absent, strict=True)]) for name in names}
    columns["setting"] = np.concatenate([new[rows.columns["setting"]] for rows, new in zip(parts, renumbered, strict=True)])
    return Rows(parts[0].board, columns, list(numbers))


def effective(rows: Rows) -> np.ndarray:
    """(n,) bool: the one row of each key that counts, by the rule of :func:`elboard.bench.record.effective`; the first of equal ones."""
    keys, (done, ended, attempt) = rows.columns["key"], (rows.columns[name] for name in ("done", "ended", "attempt"))
    counts = np.ones(len(rows), dtype=bool)
    by_key = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[by_key][1:] == keys[by_key][:-1])
    several = by_key[np.union1d(same, same + 1)]
    best: dict[int, int] = {}
    for row in several.tolist():
        other = best.setdefault(keys[row], row)
        if (done[row], ended[row], attempt[row]) > (done[other], ended[other], attempt[other]):
            best[keys[row]] = row
    counts[several] = False
    counts[list(best.values())] = True
    return counts


def name_of(setting: Mapping) -> tuple[str, int, str]:
    """``Group.name`` of the group of a decoded setting."""
    return setting["spec"]["method"], setting["spec"]["method_version"], setting["group"]


def ordered(rows: Rows) -> tuple[Rows, list[dict], np.ndarray]:
    """The rows as groups need them: finished ones first, then by group, seed and key; their settings decoded, and (n,) int, the number of
    each row's group among the names."""
    settings = [json.loads(text) for text in rows.settings]
    number = {name: i for i, name in enumerate(sorted({name_of(setting) for setting in settings}))}
    code = np.array([number[name_of(setting)] for setting in settings], dtype=np.int64)[rows.columns["setting"]]
    seed, place = rows.columns["seed"], np.where(rows.columns["done"], code, code + len(number))
    if not ((place[1:] > place[:-1]) | (place[1:] == place[:-1]) & (seed[1:] > seed[:-1])).all():
        by = np.lexsort((rows.columns["key"], seed, place))
        rows, code = rows.take(by), code[by]
    return rows, settings, code


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out.
    ``keys``, ``attempts``, ``seeds``, ``metrics``, ``later``, ``cost`` and ``badges`` are those of the n finished runs, ordered by seed,
    then key.

    Attributes:
        group: hash of ``identity``: of what the runs have in common (:mod:`elboard.bench.identity`).
        spec: ``RunSpec.resolved()`` of the finished run with the smallest seed, of a failed one where none has finished.
        seeds: (n,) int64.
        metrics: key of the metric -> (n,) float64, NaN for a run without it.
        cost: name -> (n,) float64, NaN likewise.
        failed: number of keys whose effective record is a failed one.
        notes: of the same run as ``spec``, those that boards show (``search``: which search chose the configuration).
        later: as ``metrics``, computed later: what lines that ship with the package say beside the record.
        badges: of these lines; empty for a run of which nothing is said there.
    """

    task: str
    task_version: int
    budget: str
    method: str
    method_version: int
    group: str
    identity: dict
    spec: dict
    keys: tuple[str, ...]
    attempts: tuple[str, ...]
    seeds: np.ndarray
    metrics: Mapping[str, np.ndarray]
    cost: Mapping[str, np.ndarray]
    failed: int
    notes: dict
    later: Mapping[str, np.ndarray]
    badges: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.seeds)

    def runs(self) -> list[RunSpec]:
        """The specifications of the finished runs."""
        first = RunSpec.joined(self.spec, {**self.identity, "seed": self.spec["seed"]})
        return [first.reseeded(seed) for seed in self.seeds.tolist()]

    @cached_property
    def digest(self) -> str:
        """Hash of seeds, metrics and costs: 32 hexadecimal digits, the same however the records are kept."""
        digest = hashlib.sha256(json.dumps([list(self.metrics), list(self.cost), len(self.seeds)]).encode())
        digest.update(np.ascontiguousarray(self.seeds, dtype=np.int64).data)
        for column in (*self.metrics.values(), *self.cost.values()):
            digest.update(np.ascontiguousarray(column, dtype=np.float64).data)
        return digest.hexdigest()[:32]

    @property
    def name(self) -> tuple[str, int, str]:
        """What tells the group from others of its board, and orders them."""
        return self.method, self.method_version, self.group


def groups_in(rows: Rows) -> Iterator[Group]:
    """The groups of one board, ordered by method, its version and ``group``."""
    rows, settings, code = ordered(rows.take(effective(rows) & ~rows.columns["trial"]))
    column = rows.columns
    finished, numbers = int(np.count_nonzero(column["done"])), np.arange(int(code.max(initial=-1)) + 2)
    edges, edges_failed = np.searchsorted(code[:finished], numbers), finished + np.searchsorted(code[finished:], numbers)
    low, high, failed = edges[:-1], edges[1:], np.diff(edges_failed)  # of each group: its finished rows, and how many have failed
    first = np.where(high > low, low, edges_failed[:-1])
    present = [_present(rows, kind, low, high) for kind in VALUES]
    digits = column["key"].astype(">u8").tobytes().hex()
    for i in np.flatnonzero(high - low + failed).tolist():  # of the others there are trials of a search alone
        a, b, setting = int(low[i]), int(high[i]), settings[column["setting"][first[i]]]
        metrics, later, cost = ({name: values[a:b] for name, values, there in of_kind if there[i]} for of_kind in present)
        badge = column["badge"][a:b]
        yield Group(
            *rows.board,
            *name_of(setting),
            setting["identity"],
            reseeded(setting["spec"], setting["identity"], int(column["seed"][first[i]])),
            tuple([digits[16 * row : 16 * row + 16] for row in range(a, b)]),
            tuple(column["attempt"][a:b].tolist()),
            column["seed"][a:b],
            metrics,
            cost,
            int(failed[i]),
            setting["notes"],
            later,
            tuple([WORDS[word] for word in badge.tolist()]) if badge.any() else ("",) * (b - a),
        )


def _present(rows: Rows, kind: str, low: np.ndarray, high: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each column of a kind with a mark for every group, the rows from ``low`` to ``high``: whether any of its runs has a value."""
    marked = []
    for name, column in ((name[1], rows.columns[name]) for name in rows.values if name[0] == kind):
        absent = np.isnan(column)
        there = np.concatenate([[0], np.cumsum(~absent)]) if absent.any() else np.arange(len(column) + 1)
        marked.append((name, column, there[high] > there[low]))
    return marked


def groups_of(attempts: Iterable[Record]) -> list[Group]:
    """All groups of records in memory, sorted by task, version, budget, method, its version and ``group``."""
    by_board: dict[Board, list[Item]] = defaultdict(list)
    for record in attempts:
        by_board[board_of(record)].append(Item(record))
    return [group for board in sorted(by_board) for group in groups_in(rows_of(board, by_board[board]))]
