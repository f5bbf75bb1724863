"""What has been measured: the group of records of a configuration, its values by seed, and intervals for verdicts on them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import bare, whole
from elboard.bench.registry import discover
from elboard.results.stats import Comparison, Pairs, compare_rows
from elboard.results.stats.intervals import TINY

if TYPE_CHECKING:
    from elboard.bench.papers import Paper, Side
    from elboard.results.store import Group

Interval = tuple[float, float]
Board = tuple[dict[str, dict[int, float]], Pairs]
LEVEL = 0.05  # of each of the two one-sided tests
ALIKE = "few equal values say nothing of the spread"


@dataclass(frozen=True)
class Measurement:
    """Finished runs of one configuration, the ``group`` of this hash: ``metrics`` holds values by seed, by metric key; ``runs`` the runs'
    keys by seed; ``search`` what their records say of the search that chose it."""

    group: str
    metrics: dict[str, dict[int, float]]
    runs: dict[int, str]
    search: dict[str, Any] = field(default_factory=dict)

    def keys(self, seeds: Iterable[int]) -> tuple[str, ...]:
        """The keys of the runs with these seeds."""
        return tuple(self.runs[seed] for seed in sorted(seeds))


class Measurements:
    """Looks up groups of records by task, method, budget and options.

    A group counts only if its whole configuration is the one that the present versions of task and method give, so that neither results of
    old versions nor those of other settings stand in for what was asked for.
    """

    def __init__(self, groups: Iterable[Group], paths: tuple[Path, ...] = ()):
        self.paths = paths
        self._groups = {group.group: group for group in groups}
        self._found: dict[str, Measurement | None] = {}
        self._boards: dict[tuple, Board] = {}

    def of(self, paper: Paper, side: Side, task: str, budget: str) -> Measurement | None:
        """What was measured of a configuration of ``paper``; None if nothing. Raises UserError as :meth:`find`."""
        return self.find(task, side.method, budget, paper.options(side, budget), side.search)

    def find(
        self, task: str, method: str, budget: str, options: Mapping[str, Any], search: Mapping[str, Any] | None = None
    ) -> Measurement | None:
        """What was measured of ``method`` with ``options`` over its defaults, of a ``search`` with the best options that it found; None if
        nothing.

        Raises UserError as :func:`elboard.bench.config.resolve`.
        """
        asked = json.dumps([task, method, budget, options, search or {}])
        if asked not in self._found:
            spec = self._spec(task, method, budget, options)
            group = self._searched(spec, options, search) if search else self._groups.get(group_of(spec.identity()))
            self._found[asked] = None if group is None else _measurement(group)
        return self._found[asked]

    def _spec(self, task: str, method: str, budget: str, options: Mapping[str, Any]) -> RunSpec:
        origin, paths = f"{method} on {task}", tuple(map(str, self.paths))
        return resolve(task, method, budget=budget, overrides=options, origin=origin, paths=paths)

    def _searched(self, plain: RunSpec, options: Mapping[str, Any], search: Mapping[str, Any]) -> Group | None:
        """The group that a search in the words of ``search`` chose, of several the one with the most runs."""
        words = {name: value for name, value in search.items() if name not in ("parallel", "seeds")}
        of, found = (plain.task, plain.method, plain.budget), []
        for group in self._groups.values():
            said = group.notes.get("search", {})
            if (group.task, group.method, group.budget) == of and words.items() <= said.items():
                chosen = self._spec(*of, {**options, **said.get("parameters", {})})
                found += [group] if group_of(chosen.identity()) == group.group else []
        return max(found, key=lambda group: (group.n, group.group), default=None)

    def compare(self, left: Measurement, right: Measurement, key: str) -> tuple[Comparison, Estimate | None]:
        """``left`` - ``right``, two unlike rows of a board, by the metric ``key`` with the board's variances: as boards show it, and as an
        estimate, which is None where it is undecided."""
        sides = [self._groups[of.group] for of in (left, right)]
        rows, pairs = self._board(sides[0], key, frozenset(of.group for of in sides if of.method in self._oracles))
        i, j = (list(rows).index(of.group) for of in (left, right))
        found = pairs.comparison(i, j)
        if found.p is None:
            return found, None
        largest = max(abs(value) for of in (left, right) for value in of.metrics[key].values())
        return found, Estimate(found.effect, float(pairs.error[i, j]), float(pairs.df[i, j]), TINY * largest)

    @cached_property
    def _oracles(self) -> frozenset[str]:
        """Methods whose cards say that they are handed test data."""
        return frozenset(name for name, entry in discover("method", self.paths).items() if entry.card.oracle)

    def _board(self, group: Group, key: str, oracles: frozenset[str]) -> Board:
        """All rows of the board of ``group`` that have the metric ``key``, by the hashes of their groups, and every two compared.

        Of oracles only the groups ``oracles``, so that methods are compared as if there were none.
        """
        about = (group.task, group.task_version, group.budget)
        if (*about, key, oracles) not in self._boards:
            on_it = [of for of in self._groups.values() if (of.task, of.task_version, of.budget) == about and key in of.metrics]
            on_it = [of for of in on_it if of.method not in self._oracles or of.group in oracles]
            rows = {of.group: _values(of, key) for of in on_it}
            rows = {of: values for of, values in rows.items() if values}
            self._boards[(*about, key, oracles)] = rows, compare_rows(list(rows.values()))
        return self._boards[(*about, key, oracles)]


def _measurement(group: Group) -> Measurement:
    found = {key: _values(group, key) for key in group.metrics}
    runs = dict(zip(group.seeds.tolist(), group.keys, strict=True))
    return Measurement(group.group, {key: values for key, values in found.items() if values}, runs, group.notes.get("search", {}))


def _values(group: Group, key: str) -> dict[int, float]:
    """Finite values of the metric ``key`` by seed."""
    return {seed: value for seed, value in zip(group.seeds.tolist(), group.metrics[key].tolist(), strict=True) if math.isfinite(value)}


def metric_key(name: str, present: Sequence[Iterable[str]]) -> str | None:
    """The one key that all of ``present`` have and ``name`` stands for: itself, or a key that equals it but for its parameters, never
    one of a subset.

    None if there is none. Raises UserError if several keys do.
    """
    if all(name in keys for keys in present):
        return name
    common = set.intersection(*(set(whole(tuple(keys))) for keys in present))
    found = sorted(key for key in common if bare(key) == name)
    if len(found) > 1:
        raise UserError(f"metric {name!r} may be any of {', '.join(found)}")
    return found[0] if found else None


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means with its standard error and Student's degrees of freedom; without spread the error is 0.

    ``rounding``: what is no difference but rounding, where there is no spread that would be wider.
    """

    mean: float
    error: float
    degrees: float
    rounding: float = 0.0

    def interval(self, level: float) -> Interval:
        """``mean +- t((1 + level) / 2, degrees) error``."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, 0.5 + level / 2)) * self.error if self.error > 0 else 0.0
        return self.mean - half, self.mean + half

    def p(self) -> float:
        """Two-sided, of a mean of 0; without spread 1 or 0."""
        return min(1.0, 2 * self._tail(-abs(self.mean))) if self.error > 0 else float(abs(self.mean) <= self.rounding)

    def p_equal(self, margin: float) -> float:
        """The larger of the two one-sided p-values of a mean outside +- margin (Schuirmann 1987).

        LEVEL itself where the 90 % interval ends at the margin but for rounding; without spread 0 within and at the margin, else 1.
        """
        if self.error <= 0:
            return float(abs(self.mean) > margin + self.rounding)
        p, end = self._tail(abs(self.mean) - margin), max(map(abs, self.interval(1 - 2 * LEVEL)))
        return LEVEL if math.isclose(p, LEVEL, rel_tol=1e-9) or math.isclose(end, margin, rel_tol=1e-12) else p

    @property
    def slack(self) -> float:
        """By how much an end of an interval must pass a border to lie beyond it."""
        return self.rounding if self.error <= 0 else 0.0

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        return float(stdtr(self.degrees, distance / self.error))


def estimate(values: Sequence[float], against: float = 0.0) -> Estimate:
    """The mean of ``values`` less ``against``. Raises ValueError for fewer than two."""
    n = len(values)
    if n < 2:
        raise ValueError("one value has no interval")
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    rounding = TINY * max(abs(value) for value in (*values, against))
    return Estimate(mean - against, error if error > rounding else 0.0, n - 1, rounding)


def equivalence(found: Estimate, margin: float) -> str:
    """``equal`` if the 90 % interval lies within +- margin, its ends included, which is two one-sided tests at 5 % (Schuirmann 1987);
    ``different`` if the 95 % interval lies wholly outside; else ``open``."""
    if found.p_equal(margin) <= LEVEL:
        return "equal"
    low, high = found.interval(0.95)
    return "different" if low > margin + found.slack or high < -margin - found.slack else "open"
