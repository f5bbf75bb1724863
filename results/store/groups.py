"""Attempts column by column, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from elboard.bench.identity import configuration, group_of, reseeded
from elboard.bench.record import Record
from elboard.results.store.files import Item

NAMED = ("task", "task_version", "budget", "method", "method_version")  # of a specification, by which groups are sorted
NOTES = ("search",)  # those that boards show
TEXTS = ("key", "attempt", "ended", "badge", "file")
COLUMNS = {**dict.fromkeys(TEXTS, "S"), "seed": "<i8", "done": "?", "trial": "?", "size": "<i8", "mtime": "<i8"}  # of attempts, with types


class Rest(NamedTuple):
    """What boards ask for of the few that they show."""

    spec: str  # JSON of that of the run with seed 0
    columns: np.ndarray  # (n,), of COLUMNS, texts as bytes; ``trial``: of a search; ``file``, ``size`` and ``mtime``: of its record
    values: np.ndarray  # (len(names), n), float64, NaN where absent


@dataclass(frozen=True)
class Attempts:
    """``n`` attempts at runs that differ in their seed alone.

    Attributes:
        name: what tells groups apart and sorts them: NAMED, and the hash of what the runs have in common.
        setting: JSON of that (:func:`common_to`).
        names: kind ("metrics" or "cost") and name of each value, sorted.
        rest: makes what is read when it is first asked for (:class:`Rest`).
        badged: whether one may have a badge.
        digest: of its group, and how many ``failed``, where a cache knows that each is of a run of its own and none of a search.
    """

    name: tuple
    setting: str
    names: tuple[tuple[str, str], ...]
    n: int
    rest: Callable[[], Rest] = field(repr=False)
    badged: bool = False
    digest: str = ""
    failed: int = 0

    _rest = cached_property(lambda self: self.rest())
    spec, columns, values = (property(lambda self, i=i: self._rest[i]) for i in range(3))

    def texts(self, name: str) -> tuple[str, ...]:
        """The column ``name`` of TEXTS as strings."""
        return tuple(text.decode("utf-8", "surrogatepass") for text in self.columns[name].tolist())

    def take(self, rows: np.ndarray) -> Attempts:
        """Those that ``rows`` picks, in its order."""
        rest = Rest(self.spec, self.columns[rows], self.values[:, rows])
        return replace(self, n=len(rest.columns), rest=lambda: rest, digest="", failed=0)


def common_to(record: Record) -> tuple[tuple, str, str]:
    """Of ``record``'s run and other seeds: the name, JSON of ``identity`` without seed and of ``notes``, and JSON of ``spec`` of seed 0."""
    notes = {name: record.notes[name] for name in NOTES if name in record.notes}
    spec = json.dumps(reseeded(record.spec, record.identity, 0), sort_keys=True)
    setting = json.dumps({"identity": configuration(record.identity), "notes": notes}, sort_keys=True)
    return (*(record.spec[name] for name in NAMED), group_of(record.identity)), setting, spec


def attempts_of(items: Iterable[Item]) -> list[Attempts]:
    """``items`` by their settings."""
    by_setting: dict[tuple[tuple, str, str], list[tuple[tuple, dict]]] = defaultdict(list)
    for record, metrics, badge, file, stat in items:
        of_run = (record.spec["seed"], record.status == "done", "trial" in record.notes)
        texts = (text.encode("utf-8", "surrogatepass") for text in (record.key, record.attempt, record.ended, badge, file))
        values = {(kind, name): value for kind, of in (("metrics", metrics), ("cost", record.cost)) for name, value in of.items()}
        by_setting[common_to(record)].append(((*texts, *of_run, *stat), values))
    found = []
    for (name, setting, spec), rows in by_setting.items():
        said, of_runs = zip(*rows, strict=True)
        names = tuple(sorted(set().union(*of_runs)))
        values = np.array([[of.get(name, math.nan) for of in of_runs] for name in names], float).reshape(-1, len(rows))
        found.append(attempts(name, setting, names, Rest(spec, structured(zip(*said, strict=True)), values)))
    return found


def structured(columns: Iterable[Sequence]) -> np.ndarray:
    """``columns``, in the order of COLUMNS, texts as bytes or as ASCII, in one array."""
    arrays = [np.array(column, kind) for column, kind in zip(columns, COLUMNS.values(), strict=True)]
    return np.rec.fromarrays(arrays, names=[*COLUMNS]).view(np.ndarray)


def attempts(name: tuple, setting: str, names: tuple[tuple[str, str], ...], rest: Rest) -> Attempts:
    """Of what is there."""
    return Attempts(name, setting, names, len(rest.columns), lambda: rest, bool((rest.columns["badge"] != b"").any()))


def joined(parts: Sequence[Attempts]) -> Attempts:
    """The attempts of ``parts`` one after the other, with the name, the setting and the specification of the first."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(sorted({name for part in parts for name in part.names}))
    values = np.full((len(names), sum(part.n for part in parts)), np.nan)
    for part, end in zip(parts, itertools.accumulate(part.n for part in parts), strict=True):
        values[[names.index(name) for name in part.names], end - part.n : end] = part.values
    columns = np.concatenate([part.columns for part in parts])
    return attempts(parts[0].name, parts[0].setting, names, Rest(parts[0].spec, columns, values))


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
    n = property(lambda self: self.of.n)
    first = property(lambda self: int(self.seeds[0]) if self.n else self.first_failed)
    seeds = property(lambda self: self.of.columns["seed"])
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
    spec = cached_property(lambda self: reseeded(json.loads(self.of.spec), self.identity, self.first))


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
    if len(parts) == 1 and (of := parts[0]).digest:
        finished = of if not of.failed else replace(of, n=of.n - of.failed, failed=0, rest=lambda: of.take(of.columns["done"])._rest)
        return Group(finished, of.failed)
    of = joined(parts)
    rows = _effective(of)
    rows = rows[~of.columns["trial"][rows]]
    if not len(rows):
        return None
    finished = rows[of.columns["done"][rows]]
    first = int((finished if len(finished) else rows)[0])
    part = next(part for part, end in zip(parts, itertools.accumulate(part.n for part in parts), strict=True) if first < end)
    some = ~np.isnan(of.values[:, finished]).all(1)
    rest = Rest(part.spec, of.columns[finished], of.values[some][:, finished])
    counted = attempts(of.name, part.setting, tuple(itertools.compress(of.names, some)), rest)
    return Group(counted, len(rows) - len(finished), int(of.columns["seed"][first]))


def _effective(of: Attempts) -> np.ndarray:
    """The row of each run that counts, the first of equal ones, by the rule of :func:`elboard.bench.record.effective`; sorted by seed,
    which tells runs of a group apart."""
    seeds = of.columns["seed"]
    if (seeds[1:] > seeds[:-1]).all():
        return np.arange(of.n)
    rows = np.lexsort([-np.arange(of.n), *(of.columns[name] for name in ("attempt", "ended", "done", "seed"))])
    return rows[np.append(seeds[rows[1:]] != seeds[rows[:-1]], True)]  # the last one of each seed
