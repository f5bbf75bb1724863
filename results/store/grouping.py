"""From the rows of a board to its groups, and what a part says of its groups."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from elboard.results.store.rows import Board, Name, Rows, effective, group_codes, name_of, order, texts_of, with_seed


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out.
    ``keys``, ``attempts``, ``seeds``, ``metrics`` and ``cost`` are those of the n finished runs, ordered by seed, then key. They may be
    read when they are first asked for (:mod:`elboard.results.store.lazy`); all else, names of metrics and costs included, is there at once.

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
    metrics: Mapping[str, np.ndarray]
    cost: Mapping[str, np.ndarray]
    failed: int
    notes: dict

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.seeds)

    @property
    def read(self) -> bool:
        """Whether the values are in memory."""
        return True

    @cached_property
    def digest(self) -> str:
        """Hash of seeds, metrics and costs: 32 hexadecimal digits, the same however the records are kept."""
        return _digest(self.seeds, self.metrics, self.cost)

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


def shared(board: Board, tree: Mapping, seed: int) -> dict[str, Any]:
    """The fields of a group that its setting gives, decoded as ``tree``, and the seed of the run that has it."""
    said = {"task": board[0], "task_version": board[1], "budget": board[2]}
    said |= {name: tree["spec"][name] for name in ("method", "method_version")}
    return said | {"group": tree["group"], "spec": with_seed(tree["spec"], seed), "notes": tree["notes"]}


def groups_in(rows: Rows) -> Iterator[Group]:
    """The groups of one board, ordered by method, its version and ``group``."""
    if rows.ended is not None:
        rows = rows.take(effective(rows))
        rows = rows.take(~rows.trial)
    trees, code = group_codes(rows)
    if not _ordered(rows, code):
        by = order(rows, code)
        rows, code = rows.take(by), code[by]
    low, high, first, failed = _spans(rows, code, int(code.max(initial=-1)) + 1)
    present = [_present(columns, low, high) for columns in (rows.metrics, rows.cost)]
    for i in np.flatnonzero(high - low + failed).tolist():  # of the others there are trials of a search alone
        a, b = low[i], high[i]
        metrics, cost = ({name: column[a:b] for name, column, there in found if there[i]} for found in present)
        yield _Read(
            keys=rows.key[a:b],
            attempts=rows.attempt[a:b],
            seeds=rows.seed[a:b],
            metrics=metrics,
            cost=cost,
            failed=int(failed[i]),
            **shared(rows.board, trees[rows.setting[first[i]]], int(rows.seed[first[i]])),
        )


def told_of(rows: Rows, best: np.ndarray) -> list[Told]:
    """What a part with ``rows``, in the order of groups, says of each; ``best`` (n,) bool marks the effective ones."""
    trees, code = group_codes(rows)
    count = int(code.max(initial=-1)) + 1
    counts = best & ~rows.trial
    counted = rows.take(counts)
    spans = _spans(counted, code[counts], count)
    metrics, cost = (_present(columns, *spans[:2]) for columns in (counted.metrics, counted.cost))
    number: dict[Name, int] = {name: i for i, name in enumerate(sorted({name_of(tree) for tree in trees}))}
    settings: list[list[int]] = [[] for _ in number]
    for setting, tree in enumerate(trees):
        settings[number[name_of(tree)]].append(setting)
    sizes, found = np.bincount(code, minlength=count).tolist(), []
    for i, (low, high, first, failed) in enumerate(zip(*(column.tolist() for column in spans), strict=True)):
        values = [{name: column[low:high] for name, column, there in columns if there[i]} for columns in (metrics, cost)]
        bits = [sum(int(there[i]) << j for j, (_, _, there) in enumerate(columns)) for columns in (metrics, cost)]
        runs = high - low + failed
        own = int(counted.setting[first]) if runs else settings[i][0]
        seed = int(counted.seed[first]) if runs else 0
        others = [setting for setting in settings[i] if setting != own]
        found.append(Told([own, *others], seed, high - low, failed, sizes[i], *bits, _digest(counted.seed[low:high], *values)))
    return found


def _spans(rows: Rows, code: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each of ``count`` groups of ordered rows its first finished one, the one after its last, the first of all, and the number of
    failed ones: four arrays (count,) of int."""
    finished, numbers = int(np.count_nonzero(rows.done)), np.arange(count + 1)
    edges, failed = np.searchsorted(code[:finished], numbers), finished + np.searchsorted(code[finished:], numbers)
    low, high = edges[:-1], edges[1:]
    return low, high, np.where(high > low, low, failed[:-1]), np.diff(failed)


def _digest(seeds: np.ndarray, metrics: Mapping[str, np.ndarray], cost: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps([list(metrics), list(cost), len(seeds)]).encode())
    digest.update(np.ascontiguousarray(seeds, dtype=np.int64).data)
    for column in (*metrics.values(), *cost.values()):
        digest.update(np.ascontiguousarray(column, dtype=np.float64).data)
    return digest.hexdigest()[:32]


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
