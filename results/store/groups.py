"""Attempts column by column, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
        columns: name -> (n,): those of COLUMNS, texts as bytes, maybe without FILE; ``trial`` says that it is of a search, on no board; and
            values, float64 with NaN where absent, by their kind ("metrics" or "cost") and name, sorted.
    """

    name: tuple
    setting: str
    columns: dict[str | tuple[str, str], np.ndarray]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Those of values."""
        return [name for name in self.columns if name not in COLUMNS]

    def __len__(self) -> int:
        return len(self.columns["seed"])

    def texts(self, name: str) -> tuple[str, ...]:
        """The column ``name`` of TEXTS as strings."""
        return tuple(text.decode("utf-8", "surrogatepass") for text in self.columns[name].tolist())

    def take(self, rows: np.ndarray) -> Attempts:
        """Those that ``rows`` picks, in its order."""
        return Attempts(self.name, self.setting, {name: column[rows] for name, column in self.columns.items()})


def common_to(record: Record) -> tuple[tuple, str]:
    """Name and setting of the attempts at ``record``'s run and those of other seeds. The setting is JSON of ``identity``, the tree of the
    key without the seed, ``notes``, those that boards show, and ``spec``, JSON of that of the run with seed 0, which boards do not need."""
    notes = {name: record.notes[name] for name in NOTES if name in record.notes}
    spec = json.dumps(reseeded(record.spec, record.identity, 0), sort_keys=True)
    setting = {"identity": configuration(record.identity), "notes": notes, "spec": spec}
    return (*(record.spec[name] for name in NAMED), group_of(record.identity)), json.dumps(setting, sort_keys=True)


def attempts_of(items: Iterable[Item]) -> list[Attempts]:
    """``items`` by their settings."""
    by_setting: dict[tuple[tuple, str], list[dict]] = defaultdict(list)
    for record, metrics, badge, file, stat in items:
        of_run = (record.spec["seed"], record.status == "done", "trial" in record.notes)
        texts = (text.encode("utf-8", "surrogatepass") for text in (record.key, record.attempt, record.ended, badge, file))
        row = dict(zip(COLUMNS, (*texts, *of_run, *stat), strict=True))
        row |= {(kind, name): value for kind, of in (("metrics", metrics), ("cost", record.cost)) for name, value in of.items()}
        by_setting[common_to(record)].append(row)
    found = []
    for common, rows in by_setting.items():
        names = [*COLUMNS, *sorted({name for row in rows for name in row} - {*COLUMNS})]
        columns = {name: np.array([row.get(name, math.nan) for row in rows], dtype=COLUMNS.get(name, float)) for name in names}
        found.append(Attempts(*common, columns))
    return found


def joined(parts: Sequence[Attempts]) -> Attempts:
    """The attempts of ``parts`` one after the other, with the name and the setting of the first."""
    if len(parts) == 1:
        return parts[0]
    names = [*COLUMNS, *sorted({name for part in parts for name in part.names})]
    columns = {name: np.concatenate([part.columns.get(name, np.full(len(part), np.nan)) for part in parts]) for name in names}
    return Attempts(parts[0].name, parts[0].setting, columns)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out.
    ``keys``, ``attempts``, ``seeds``, ``metrics``, ``cost`` and ``badges`` are those of the n finished runs, ordered by seed. Text is
    decoded when it is asked for: of a board of thousands few rows are shown.

    Attributes:
        group: hash of ``identity``: of what the runs have in common (:mod:`elboard.bench.identity`).
        spec: ``RunSpec.resolved()`` of the run ``first``.
        notes: of the same run, those that boards show (``search``: which search chose the configuration).
        seeds: (n,) int64.
        badges: of lines that ship with the package; empty for a run of which nothing is said there.
        of: the attempts that count, with the setting of the run ``first``.
        first: the seed of the finished run with the smallest one, of a failed one where none has finished.
        metrics: key of the metric -> (n,) float64, NaN for a run without it; of lines that ship with the package also those that they
            say beside the record, computed later.
        cost: name -> (n,) float64, NaN likewise.
        failed: number of keys whose effective record is a failed one.
    """

    task: str
    task_version: int
    budget: str
    method: str
    method_version: int
    group: str
    of: Attempts
    first: int
    metrics: Mapping[str, np.ndarray]
    cost: Mapping[str, np.ndarray]
    failed: int

    n = property(lambda self: len(self.of))
    seeds = property(lambda self: self.of.columns["seed"])
    keys = cached_property(lambda self: self.of.texts("key"))
    attempts = cached_property(lambda self: self.of.texts("attempt"))
    badges = cached_property(lambda self: self.of.texts("badge"))
    _said = cached_property(lambda self: json.loads(self.of.setting))
    identity = property(lambda self: self._said["identity"])
    notes = property(lambda self: self._said["notes"])
    spec = cached_property(lambda self: reseeded(json.loads(self._said["spec"]), self.identity, self.first))


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
    rows = _effective(of)
    if 1 in of.columns["trial"].tobytes():  # bytes are looked through in a fifth of NumPy's time
        rows = rows[~of.columns["trial"][rows]]
        if not len(rows):
            return None
    finished = rows[of.columns["done"][rows]] if 0 in of.columns["done"].tobytes() else rows
    first = int((finished if len(finished) else rows)[0])
    seed = int(of.columns["seed"][first])
    if len(parts) > 1:
        ends = itertools.accumulate(map(len, parts))
        of = replace(of, setting=next(part.setting for part, end in zip(parts, ends, strict=True) if first < end))
    if len(finished) < len(of) or (finished[1:] < finished[:-1]).any():
        of = of.take(finished)
    values: dict[str, dict[str, np.ndarray]] = {"metrics": {}, "cost": {}}
    for kind, of_kind in of.names if len(of) else ():
        column = of.columns[kind, of_kind]
        if not (math.isnan(column[0]) and np.isnan(column).all()):
            values[kind][of_kind] = column
    return Group(*of.name, of, seed, values["metrics"], values["cost"], len(rows) - len(finished))


def _effective(of: Attempts) -> np.ndarray:
    """The row of each run that counts, the first of equal ones, by the rule of :func:`elboard.bench.record.effective`; sorted by seed,
    which tells runs of a group apart."""
    seeds = of.columns["seed"]
    if (seeds[1:] > seeds[:-1]).all():
        return np.arange(len(of))
    rows = np.lexsort([-np.arange(len(of)), *(of.columns[name] for name in ("attempt", "ended", "done", "seed"))])
    return rows[np.append(seeds[rows[1:]] != seeds[rows[:-1]], True)]  # the last one of each seed
