"""Attempts column by column, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from elboard.bench.identity import configuration, group_of, reseeded
from elboard.bench.record import Record
from elboard.results.store.files import Item

NAMED = ("task", "task_version", "budget", "method", "method_version")  # of a specification, by which groups are sorted
NOTES = ("search",)  # those that boards show
TEXTS = ("key", "attempt", "ended", "badge", "file")
FILE = ("file", "size", "mtime")  # where an attempt's record was
COLUMNS = {**dict.fromkeys(TEXTS, "S"), "seed": "<i8", "done": "?", "trial": "?", "size": "<i8", "mtime": "<i8"}  # of attempts, with types


@dataclass(frozen=True)
class Attempts:
    """Attempts at runs that differ in their seed alone.

    Attributes:
        name: what tells groups apart and sorts them: NAMED, and the hash of what the runs have in common.
        setting: JSON of that (:func:`common_to`).
        columns: those of COLUMNS, texts as bytes, maybe without FILE; ``trial`` says that it is of a search, on no board. The bytes of all
            that a cache has, for :meth:`column`: of thousands few are looked at.
        names: kind ("metrics" or "cost") and name of each value, sorted.
        values: (len(names), n), float64 with NaN where absent.
        digest: of its group (:func:`digest_of`) where the finished ones are known to be its runs, as a cache may say.
        rows: which ones of ``columns`` they are, None: all.
    """

    name: tuple
    setting: str
    columns: Mapping[str, np.ndarray | bytes]
    names: tuple[tuple[str, str], ...]
    values: np.ndarray
    digest: str = ""
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return self.values.shape[1]

    def column(self, name: str) -> np.ndarray:
        """(n,): that of COLUMNS."""
        of = self.columns[name]
        if not isinstance(of, np.ndarray):
            of = np.frombuffer(of, f"S{8 * len(of) // len(self.columns['seed'])}" if name in TEXTS else COLUMNS[name])
        return of if self.rows is None else of[self.rows]

    def texts(self, name: str) -> tuple[str, ...]:
        """The column ``name`` of TEXTS as strings."""
        return tuple(text.decode("utf-8", "surrogatepass") for text in self.column(name).tolist())

    def take(self, rows: np.ndarray) -> Attempts:
        """Those that ``rows`` picks, in its order."""
        whole = np.arange(len(self)) if self.rows is None else self.rows
        return replace(self, values=self.values[:, rows], digest="", rows=whole[rows])


def common_to(record: Record) -> tuple[tuple, str]:
    """Name and setting of the attempts at ``record``'s run and those of other seeds. The setting is JSON of ``identity``, the tree of the
    key without the seed, ``notes``, those that boards show, and ``spec``, JSON of that of the run with seed 0, which boards do not need."""
    notes = {name: record.notes[name] for name in NOTES if name in record.notes}
    spec = json.dumps(reseeded(record.spec, record.identity, 0), sort_keys=True)
    setting = {"identity": configuration(record.identity), "notes": notes, "spec": spec}
    return (*(record.spec[name] for name in NAMED), group_of(record.identity)), json.dumps(setting, sort_keys=True)


def attempts_of(items: Iterable[Item]) -> list[Attempts]:
    """``items`` by their settings."""
    by_setting: dict[tuple[tuple, str], list[tuple[tuple, dict]]] = defaultdict(list)
    for record, metrics, badge, file, stat in items:
        of_run = (record.spec["seed"], record.status == "done", "trial" in record.notes)
        texts = (text.encode("utf-8", "surrogatepass") for text in (record.key, record.attempt, record.ended, badge, file))
        values = {(kind, name): value for kind, of in (("metrics", metrics), ("cost", record.cost)) for name, value in of.items()}
        by_setting[common_to(record)].append(((*texts, *of_run, *stat), values))
    found = []
    for common, rows in by_setting.items():
        said, of_runs = zip(*rows, strict=True)
        columns = {name: np.array(column, COLUMNS[name]) for name, column in zip(COLUMNS, zip(*said, strict=True), strict=True)}
        names = tuple(sorted(set().union(*of_runs)))
        values = np.array([[of.get(name, math.nan) for of in of_runs] for name in names], float).reshape(-1, len(rows))
        found.append(Attempts(*common, columns, names, values))
    return found


def joined(parts: Sequence[Attempts]) -> Attempts:
    """The attempts of ``parts`` one after the other, with the name and the setting of the first."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([of.column(name) for of in parts]) for name in COLUMNS if all(name in of.columns for of in parts)}
    names = tuple(sorted({name for part in parts for name in part.names}))
    values = np.full((len(names), sum(map(len, parts))), np.nan)
    for part, end in zip(parts, itertools.accumulate(map(len, parts)), strict=True):
        values[[names.index(name) for name in part.names], end - len(part) : end] = part.values
    return Attempts(parts[0].name, parts[0].setting, columns, names, values)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out. Of
    the n finished runs, by seed, there are ``keys``, ``attempts``, ``seeds``, ``badges`` (of lines that ship; empty where nothing is said),
    ``metrics`` and ``cost``: name -> (n,) float64, NaN for a run without it. All is made when it is asked for: few are shown of thousands.

    Attributes:
        of: the finished attempts, with the setting of the run ``first``.
        failed: number of keys whose effective record is a failed one; ``first_failed``, the smallest seed of these.
        first: the smallest seed of a finished run, of a failed one where none has finished; ``spec``, ``RunSpec.resolved()`` of that run,
            and ``notes``, those that boards show (``search``: which search chose the configuration).
        group: hash of ``identity``: of what the runs have in common (:mod:`elboard.bench.identity`).
        measured: the keys of ``metrics``, those that lines say beside the record, computed later, included.
    """

    of: Attempts
    failed: int = 0
    first_failed: int = 0

    task, task_version, budget, method, method_version, group = (property(lambda self, i=i: self.of.name[i]) for i in range(6))
    n = property(lambda self: len(self.of))
    first = property(lambda self: int(self.seeds[0]) if self.n else self.first_failed)
    seeds = property(lambda self: self.of.column("seed"))
    keys = cached_property(lambda self: self.of.texts("key"))
    attempts = cached_property(lambda self: self.of.texts("attempt"))
    badges = cached_property(lambda self: self.of.texts("badge"))
    measured = property(lambda self: _of_kind("metrics", self.of.names))
    metrics = cached_property(lambda self: dict(zip(self.measured, self.of.values[len(self.of.names) - len(self.measured) :], strict=True)))
    cost = cached_property(lambda self: dict(zip(_of_kind("cost", self.of.names), self.of.values, strict=False)))  # the first ones
    digest = property(lambda self: self.of.digest or digest_of(self))
    _said = cached_property(lambda self: json.loads(self.of.setting))
    identity = property(lambda self: self._said["identity"])
    notes = property(lambda self: self._said["notes"])
    spec = cached_property(lambda self: reseeded(json.loads(self._said["spec"]), self.identity, self.first))


@cache
def _of_kind(kind: str, names: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(name for of, name in names if of == kind)


def digest_of(group: Group) -> str:
    """Hash of the setting, the seeds and the metrics of ``group``: 32 hexadecimal digits, the same however the records are kept."""
    columns = [column.tobytes() for column in (group.seeds, *group.metrics.values())]
    text = "\0".join((group.group, str(group.n), *group.measured)).encode()
    return hashlib.sha256(b"\n".join((text, *columns))).hexdigest()[:32]


def grouped(parts: Iterable[Attempts]) -> list[Group]:
    """The groups of all ``parts``, sorted by task, version, budget, method, its version and ``group``."""
    by_name: dict[tuple, list[Attempts]] = defaultdict(list)
    for part in parts:
        by_name[part.name].append(part)
    return [group for name in sorted(by_name) if (group := _group(by_name[name]))]


def groups_of(records: Iterable[Record]) -> list[Group]:
    """:func:`grouped` records in memory."""
    return grouped(attempts_of(Item(record, record.metrics) for record in records))


def _group(parts: Sequence[Attempts]) -> Group | None:
    """The group of ``parts``; None where there are trials of a search alone."""
    of = joined(parts)
    if of.digest and 0 not in of.columns["done"]:
        return Group(of)
    rows = _effective(of)
    rows = rows[~of.column("trial")[rows]]
    if not len(rows):
        return None
    finished = rows[of.column("done")[rows]]
    first = int((finished if len(finished) else rows)[0])
    setting = next(part.setting for part, end in zip(parts, itertools.accumulate(map(len, parts)), strict=True) if first < end)
    counted = of.take(finished)
    some = ~np.isnan(counted.values).all(1)
    what = {"names": tuple(itertools.compress(of.names, some)), "values": counted.values[some], "digest": of.digest}
    return Group(replace(counted, setting=setting, **what), len(rows) - len(finished), int(of.column("seed")[first]))


def _effective(of: Attempts) -> np.ndarray:
    """The row of each run that counts, the first of equal ones, by the rule of :func:`elboard.bench.record.effective`; sorted by seed,
    which tells runs of a group apart."""
    seeds = of.column("seed")
    if (seeds[1:] > seeds[:-1]).all():
        return np.arange(len(of))
    rows = np.lexsort([-np.arange(len(of)), *(of.column(name) for name in ("attempt", "ended", "done", "seed"))])
    return rows[np.append(seeds[rows[1:]] != seeds[rows[:-1]], True)]  # the last one of each seed
