"""Attempts column by column, what boards need of records, from files and from parts alike; and the groups that they make."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from elboard.bench.config import RunSpec
from elboard.bench.identity import configuration, group_of, reseeded
from elboard.bench.record import Record

Board = tuple[str, int, str]  # task, its version, budget
Name = tuple[str, int, str]  # of a group: method, its version, hash of what its runs have in common
KEPT = ("search",)  # notes that boards show
COLUMNS = ("key", "attempt", "done", "trial", "seed", "setting")


@dataclass
class Rows:
    """Attempts at runs of one task, version and budget.

    Attributes:
        key, attempt: (n,) uint64 where all of them have 16, 12 hexadecimal digits, else (n,) of str (:func:`ids_of`).
        done, trial: (n,) bool; a trial of a search is on no board.
        seed: (n,) int64.
        setting: (n,) int, index into ``settings``: JSON texts of what does not depend on the seed (:func:`setting_of`).
        metrics, cost: name -> (n,) float64, NaN where absent.
        ended: (n,) of str, or None if the rows are the effective ones of their keys already.
    """

    board: Board
    key: np.ndarray
    attempt: np.ndarray
    done: np.ndarray
    trial: np.ndarray
    seed: np.ndarray
    setting: np.ndarray
    settings: list[str]
    metrics: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    ended: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows that ``index`` picks, in its order; a slice copies nothing."""
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        metrics, cost = ({name: column[index] for name, column in group.items()} for group in (self.metrics, self.cost))
        ended = None if self.ended is None else self.ended[index]
        return replace(self, **columns, metrics=metrics, cost=cost, ended=ended)


def texts(values: Iterable[str | None]) -> np.ndarray:
    """(n,) of str, whatever the length of the texts."""
    return np.array([*values, None], dtype=object)[:-1]


def texts_of(ids: np.ndarray, digits: int) -> tuple[str, ...]:
    """The ids as text: numbers as hexadecimal with ``digits`` digits, texts as they are."""
    if ids.dtype == object:
        return tuple(ids.tolist())
    packed = ids.astype(">u8").tobytes().hex()
    return tuple([packed[end - digits : end] for end in range(16, len(packed) + 1, 16)])


def ids_of(names: Sequence[str], digits: int) -> np.ndarray:
    """Ids in the smallest form: (n,) uint64 where all of them are hexadecimal with ``digits`` digits, else (n,) of str."""
    if all(re.fullmatch(f"[0-9a-f]{{{digits}}}", name) for name in names):
        return np.fromiter((int(name, 16) for name in names), np.uint64, len(names))
    return texts(names)


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


def name_of(tree: Mapping) -> Name:
    """``Group.name`` of the group of a setting that was decoded as ``tree``."""
    return tree["spec"]["method"], tree["spec"]["method_version"], tree["group"]


def rows_of(board: Board, found: Sequence[Record]) -> Rows:
    """Columns of records of one board, in their order."""
    codes: dict[str, int] = {}
    setting = np.array([codes.setdefault(setting_of(record), len(codes)) for record in found], dtype=np.int32)
    return Rows(
        board,
        key=ids_of([record.key for record in found], 16),
        attempt=ids_of([record.attempt for record in found], 12),
        done=np.array([record.status == "done" for record in found], dtype=bool),
        trial=np.array(["trial" in record.notes for record in found], dtype=bool),
        seed=np.array([record.spec["seed"] for record in found], dtype=np.int64),
        setting=setting,
        settings=list(codes),
        metrics=_columns([record.metrics for record in found]),
        cost=_columns([record.cost for record in found]),
        ended=texts(record.ended for record in found),
    )


def _columns(found: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """name -> (n,) float64 of mappings, NaN where one lacks the name; names sorted."""
    names = sorted({name for values in found for name in values})
    return {name: np.array([values.get(name, np.nan) for values in found], dtype=np.float64) for name in names}


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several sources of one board, one after the other."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(rows) for rows in parts]
    number: dict[str, int] = {}
    numbers = [np.array([number.setdefault(text, len(number)) for text in rows.settings], dtype=np.int32) for rows in parts]
    columns = {name: np.concatenate([getattr(rows, name) for rows in parts]) for name in ("done", "trial", "seed")}
    return Rows(
        parts[0].board,
        **columns,
        key=_joined_ids([rows.key for rows in parts], 16),
        attempt=_joined_ids([rows.attempt for rows in parts], 12),
        setting=np.concatenate([of_part[rows.setting] for rows, of_part in zip(parts, numbers, strict=True)]),
        settings=list(number),
        metrics=_joined([rows.metrics for rows in parts], sizes),
        cost=_joined([rows.cost for rows in parts], sizes),
        ended=np.concatenate([rows.ended for rows in parts]),
    )


def _joined_ids(parts: Sequence[np.ndarray], digits: int) -> np.ndarray:
    if len({column.dtype for column in parts}) > 1:
        return texts(name for column in parts for name in texts_of(column, digits))
    return np.concatenate(parts)


def _joined(parts: Sequence[Mapping[str, np.ndarray]], sizes: Iterable[int]) -> dict[str, np.ndarray]:
    names = sorted({name for columns in parts for name in columns})
    absent = [np.full(size, np.nan) for size in sizes]
    return {name: np.concatenate([columns.get(name, nan) for columns, nan in zip(parts, absent, strict=True)]) for name in names}


def effective(rows: Rows) -> np.ndarray:
    """(n,) bool: the one row of each key that counts, by the rule of :func:`elboard.bench.record.effective`; the first of equal ones."""
    counts = np.ones(len(rows), dtype=bool)
    if rows.ended is None:
        return counts
    by_key = np.argsort(rows.key, kind="stable")
    same = np.flatnonzero(rows.key[by_key][1:] == rows.key[by_key][:-1])
    several = by_key[np.union1d(same, same + 1)]
    best: dict[object, int] = {}

    def rank(row: int) -> tuple:
        return rows.done[row], rows.ended[row], rows.attempt[row]

    for row in several.tolist():
        key = rows.key[row]
        if key not in best or rank(row) > rank(best[key]):
            best[key] = row
    counts[several] = False
    counts[list(best.values())] = True
    return counts


def group_codes(rows: Rows) -> tuple[list[dict], np.ndarray]:
    """What was said of each setting, and for each row the number of its group: (n,) int, by method, its version and the group's hash."""
    said = [json.loads(text) for text in rows.settings]
    names = [name_of(tree) for tree in said]
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    return said, np.array([number[name] for name in names], dtype=np.int64)[rows.setting]


def order(rows: Rows, code: np.ndarray) -> np.ndarray:
    """The order of rows that groups need: finished ones first, then by group, seed and key. (n,) int."""
    return np.lexsort((rows.key, rows.seed, code, ~rows.done))


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out.
    ``keys``, ``attempts``, ``seeds``, ``metrics`` and ``cost`` are those of the n finished runs, ordered by seed, then key. They may be
    read when they are first asked for (:mod:`elboard.results.store.groups`); all else, names of metrics and costs too, is there at once.

    Attributes:
        group: hash of ``identity``: of what the runs have in common (:mod:`elboard.bench.identity`).
        spec: ``RunSpec.resolved()`` of the finished run with the smallest seed, of a failed one where none has finished.
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
    identity: dict
    spec: dict
    keys: tuple[str, ...]
    attempts: tuple[str, ...]
    seeds: np.ndarray
    metrics: Mapping[str, np.ndarray]
    cost: Mapping[str, np.ndarray]
    failed: int
    notes: dict

    @cached_property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.seeds)

    def runs(self) -> list[RunSpec]:
        """The specifications of the finished runs."""
        first = RunSpec.joined(self.spec, {**self.identity, "seed": self.spec["seed"]})
        return [first.reseeded(seed) for seed in self.seeds.tolist()]

    @property
    def read(self) -> bool:
        """Whether the values are in memory."""
        return True

    @cached_property
    def digest(self) -> str:
        """Hash of seeds, metrics and costs: 32 hexadecimal digits, the same however the records are kept."""
        digest = hashlib.sha256(json.dumps([list(self.metrics), list(self.cost), len(self.seeds)]).encode())
        digest.update(np.ascontiguousarray(self.seeds, dtype=np.int64).data)
        for column in (*self.metrics.values(), *self.cost.values()):
            digest.update(np.ascontiguousarray(column, dtype=np.float64).data)
        return digest.hexdigest()[:32]

    @property
    def name(self) -> Name:
        """What tells the group from others of its board, and orders them."""
        return self.method, self.method_version, self.group


class Told(NamedTuple):
    """What a part says of one of its groups: all that is known of it without a look at its rows.

    ``settings`` are those of its rows, numbers of the part's settings, that of ``Group.spec`` first; ``seed`` is the seed of that run.
    ``n`` are its finished runs among the rows of the part that count; ``rows`` counts all of its rows. ``metrics`` and ``cost`` have a bit
    for each of the part's columns of which it has a value. A group of trials alone has no runs and no failed ones.
    """

    settings: list[int]
    seed: int
    n: int
    failed: int
    rows: int
    metrics: int
    cost: int
    digest: str


class Later(Group):
    """A group some of whose attributes, those in ``later``, are made when they are first asked for."""

    def __init__(self, later: Mapping[str, Callable[[], Any]], **fields: Any) -> None:
        self.__dict__.update(fields, _later=later)

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("_later", ()):
            raise AttributeError(name)
        return self.__dict__.setdefault(name, self._later[name]())


def shared(board: Board, tree: Mapping, seed: int) -> dict[str, Any]:
    """The fields of a group that its setting gives, decoded as ``tree``, and the seed of the run that has it."""
    said = {"task": board[0], "task_version": board[1], "budget": board[2]}
    said |= {name: tree["spec"][name] for name in ("method", "method_version")}
    return said | {
        "group": tree["group"],
        "identity": tree["identity"],
        "spec": reseeded(tree["spec"], tree["identity"], seed),
        "notes": tree["notes"],
    }


def groups_in(rows: Rows) -> Iterator[Group]:
    """The groups of one board, ordered by method, its version and ``group``."""
    if rows.ended is not None:
        rows = rows.take(effective(rows))
        rows = rows.take(~rows.trial)
    trees, code = group_codes(rows)
    if not _ordered(rows, code):
        by = order(rows, code)
        rows, code = rows.take(by), code[by]
    finished, numbers = int(np.count_nonzero(rows.done)), np.arange(int(code.max(initial=-1)) + 2)
    edges, edges_failed = np.searchsorted(code[:finished], numbers), finished + np.searchsorted(code[finished:], numbers)
    low, high, failed = edges[:-1], edges[1:], np.diff(edges_failed)  # of each group: its finished rows, and how many have failed
    first = np.where(high > low, low, edges_failed[:-1])
    present = [_present(columns, low, high) for columns in (rows.metrics, rows.cost)]
    for i in np.flatnonzero(high - low + failed).tolist():  # of the others there are trials of a search alone
        a, b, setting = low[i], high[i], int(rows.setting[first[i]])
        metrics, cost = ({name: column[a:b] for name, column, there in found if there[i]} for found in present)
        yield Later(  # ids become text late: for a million runs that takes longer than all else together
            {"keys": partial(texts_of, rows.key[a:b], 16), "attempts": partial(texts_of, rows.attempt[a:b], 12)},
            seeds=rows.seed[a:b],
            metrics=metrics,
            cost=cost,
            failed=int(failed[i]),
            setting=setting,
            **shared(rows.board, trees[setting], int(rows.seed[first[i]])),
        )


def told_of(rows: Rows, best: np.ndarray) -> list[Told]:
    """What a part with ``rows``, in the order of groups, says of each; ``best`` (n,) bool marks the effective ones."""
    trees, code = group_codes(rows)
    settings: dict[Name, list[int]] = defaultdict(list)
    for setting, tree in enumerate(trees):
        settings[name_of(tree)].append(setting)
    runs = {group.name: group for group in groups_in(replace(rows.take(best & ~rows.trial), ended=None))}
    found, sizes = [], np.bincount(code, minlength=len(settings)).tolist()
    for name, size in zip(sorted(settings), sizes, strict=True):
        group, own = runs.get(name), settings[name]
        if group is None:
            found.append(Told(own, 0, 0, 0, size, 0, 0, ""))
            continue
        own.sort(key=lambda setting, first=group.setting: setting != first)
        metrics, cost = (
            sum(1 << i for i, column in enumerate(columns) if column in values)
            for columns, values in ((rows.metrics, group.metrics), (rows.cost, group.cost))
        )
        found.append(Told(own, group.spec["seed"], group.n, group.failed, size, metrics, cost, group.digest))
    return found


def _ordered(rows: Rows, code: np.ndarray) -> bool:
    """Whether rows are in the order that groups need already, no seed of a group twice."""
    place = np.where(rows.done, code, code + code.max(initial=0) + 1)
    return bool(((place[1:] > place[:-1]) | (place[1:] == place[:-1]) & (rows.seed[1:] > rows.seed[:-1])).all())


def _present(columns: Mapping[str, np.ndarray], low: np.ndarray, high: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each column with a mark for every group, the rows from ``low`` to ``high``: whether any of its runs has a value."""
    found = []
    for name, column in columns.items():
        absent = np.isnan(column)
        there = np.concatenate([[0], np.cumsum(~absent)]) if absent.any() else np.arange(len(column) + 1)
        found.append((name, column, there[high] > there[low]))
    return found
