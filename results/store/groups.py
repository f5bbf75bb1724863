"""Attempts column by column, and groups of them: all runs that differ in their seed alone. What boards, tables and claims are made of."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elboard.bench.identity import configuration, group_of, reseeded
from elboard.bench.record import Record
from elboard.results.store.files import Item

NOTES = ("search",)  # those that boards show
TEXTS = ("key", "attempt", "ended", "badge", "file")
FILE = ("file", "size", "mtime")  # where an attempt's record was
COLUMNS = {**dict.fromkeys(TEXTS, object), "seed": int, "done": bool, "trial": bool, "size": int, "mtime": int}  # of attempts, with types


@dataclass(frozen=True)
class Attempts:
    """Attempts at runs that differ in their seed alone.

    Attributes:
        setting: JSON of what they have in common (:func:`setting_of`).
        columns: name -> (n,): those of COLUMNS, maybe without FILE, of which ``trial`` says that it is of a search, on no board; and
            values, float64 with NaN where absent, by their kind ("metrics" or "cost") and name, sorted.
    """

    setting: str
    columns: dict[str | tuple[str, str], np.ndarray]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Those of values."""
        return [name for name in self.columns if name not in COLUMNS]

    def __len__(self) -> int:
        return len(self.columns["seed"])

    def take(self, rows: np.ndarray) -> Attempts:
        """Those that ``rows`` picks, in its order."""
        return Attempts(self.setting, {name: column[rows] for name, column in self.columns.items()})


def setting_of(record: Record) -> str:
    """What runs that differ in their seed alone have in common, as JSON: ``{"group", "identity", "spec", "notes"}``.

    ``identity`` is the tree of the key without the seed, ``group`` its hash, ``spec`` that of the run with seed 0; ``notes`` are those that
    boards show.
    """
    notes = {name: record.notes[name] for name in NOTES if name in record.notes}
    spec = reseeded(record.spec, record.identity, 0)
    said = {"group": group_of(record.identity), "identity": configuration(record.identity), "spec": spec, "notes": notes}
    return json.dumps(said, sort_keys=True)


def attempts_of(items: Iterable[Item]) -> list[Attempts]:
    """``items`` by their settings."""
    by_setting: dict[str, list[dict]] = defaultdict(list)
    for record, metrics, badge, file, stat in items:
        of_run = (record.spec["seed"], record.status == "done", "trial" in record.notes)
        row = dict(zip(COLUMNS, (record.key, record.attempt, record.ended, badge, file, *of_run, *stat), strict=True))
        row |= {(kind, name): value for kind, of in (("metrics", metrics), ("cost", record.cost)) for name, value in of.items()}
        by_setting[setting_of(record)].append(row)
    found = []
    for setting, rows in by_setting.items():
        names = [*COLUMNS, *sorted({name for row in rows for name in row} - {*COLUMNS})]
        columns = {name: np.array([row.get(name, math.nan) for row in rows], dtype=COLUMNS.get(name, float)) for name in names}
        found.append(Attempts(setting, columns))
    return found


def joined(parts: Sequence[Attempts]) -> Attempts:
    """The attempts of ``parts`` one after the other, with the setting of the first."""
    if len(parts) == 1:
        return parts[0]
    names = [*COLUMNS, *sorted({name for part in parts for name in part.names})]
    columns = {name: np.concatenate([part.columns.get(name, np.full(len(part), np.nan)) for part in parts]) for name in names}
    return Attempts(parts[0].setting, columns)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one method with one configuration on one task, version and budget, that differ in their seed alone.

    Each key counts once, by the record that is effective (:func:`elboard.bench.record.effective`); trials of searches are left out.
    ``keys``, ``attempts``, ``seeds``, ``metrics``, ``cost`` and ``badges`` are those of the n finished runs, ordered by seed.

    Attributes:
        group: hash of ``identity``: of what the runs have in common (:mod:`elboard.bench.identity`).
        spec: ``RunSpec.resolved()`` of the finished run with the smallest seed, of a failed one where none has finished.
        seeds: (n,) int64.
        metrics: key of the metric -> (n,) float64, NaN for a run without it; of lines that ship with the package also those that they
            say beside the record, computed later.
        cost: name -> (n,) float64, NaN likewise.
        failed: number of keys whose effective record is a failed one.
        notes: of the same run as ``spec``, those that boards show (``search``: which search chose the configuration).
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
    badges: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.seeds)

    @cached_property
    def digest(self) -> str:
        """Hash of seeds, metrics and costs: 32 hexadecimal digits, the same however the records are kept."""
        names = json.dumps([list(self.metrics), list(self.cost), len(self.seeds)]).encode()
        columns = (column.tobytes() for column in (self.seeds, *self.metrics.values(), *self.cost.values()))
        return hashlib.sha256(b"".join((names, *columns))).hexdigest()[:32]


def grouped(parts: Iterable[Attempts]) -> list[Group]:
    """The groups of all ``parts``, sorted by task, version, budget, method, its version and ``group``."""
    by_name: dict[tuple, list[tuple[Attempts, dict]]] = defaultdict(list)
    for part in parts:
        setting = json.loads(part.setting)
        named = (setting["spec"][name] for name in ("task", "task_version", "budget", "method", "method_version"))
        by_name[*named, setting["group"]].append((part, setting))
    return [group for name in sorted(by_name) if (group := _group(name, *zip(*by_name[name], strict=True)))]


def groups_of(records: Iterable[Record]) -> list[Group]:
    """:func:`grouped` records in memory."""
    return grouped(attempts_of(Item(record, record.metrics) for record in records))


def _group(name: tuple, parts: Sequence[Attempts], settings: Sequence[dict]) -> Group | None:
    """The group ``name`` of ``parts``, each with its decoded setting; None where there are trials of a search alone."""
    of = joined(parts)
    rows = _effective(of)
    rows = rows[~of.columns["trial"][rows]]
    if not len(rows):
        return None
    finished = rows[of.columns["done"][rows]]
    first = int((finished if len(finished) else rows)[0])
    setting = next(setting for setting, end in zip(settings, itertools.accumulate(map(len, parts)), strict=True) if first < end)
    spec = reseeded(setting["spec"], setting["identity"], int(of.columns["seed"][first]))
    if len(finished) < len(of) or (finished[1:] < finished[:-1]).any():
        of = of.take(finished)
    values: dict[str, dict[str, np.ndarray]] = {"metrics": {}, "cost": {}}
    for kind, of_kind in of.names if len(of) else ():
        column = of.columns[kind, of_kind]
        if not (math.isnan(column[0]) and np.isnan(column).all()):
            values[kind][of_kind] = column
    keys, attempts, badges = (tuple(of.columns[column].tolist()) for column in ("key", "attempt", "badge"))
    numbers = (of.columns["seed"], values["metrics"], values["cost"], len(rows) - len(finished))
    return Group(*name, setting["identity"], spec, keys, attempts, *numbers, setting["notes"], badges)


def _effective(of: Attempts) -> np.ndarray:
    """The row of each run that counts, the first of equal ones, by the rule of :func:`elboard.bench.record.effective`; sorted by seed,
    which tells runs of a group apart."""
    seeds = of.columns["seed"]
    if (seeds[1:] > seeds[:-1]).all():
        return np.arange(len(of))
    rows = np.lexsort([-np.arange(len(of)), *(of.columns[name] for name in ("attempt", "ended", "done", "seed"))])
    return rows[np.append(seeds[rows[1:]] != seeds[rows[:-1]], True)]  # the last one of each seed
