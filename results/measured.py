"""What has been measured: the group of records of a configuration, its values by seed, and intervals for verdicts on them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import bare, whole

if TYPE_CHECKING:
    from elboard.results.store import Group

Interval = tuple[float, float]


@dataclass(frozen=True)
class Measurement:
    """Finished runs of one configuration: ``metrics`` holds values by seed, by metric key; ``runs`` the runs' keys by seed."""

    metrics: dict[str, dict[int, float]]
    runs: dict[int, str]

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

    def find(self, task: str, method: str, budget: str, options: Mapping[str, Any]) -> Measurement | None:
        """What was measured of ``method`` with ``options`` over its defaults; None if nothing.

        Raises UserError as :func:`elboard.bench.config.resolve`.
        """
        asked = json.dumps([task, method, budget, options])
        if asked not in self._found:
            spec = resolve(task, method, budget=budget, overrides=options, origin=f"{method} on {task}", paths=tuple(map(str, self.paths)))
            group = self._groups.get(group_of(spec.identity()))
            self._found[asked] = None if group is None else _measurement(group)
        return self._found[asked]


def _measurement(group: Group) -> Measurement:
    seeds = group.seeds.tolist()
    found = {
        key: {seed: value for seed, value in zip(seeds, values.tolist(), strict=True) if math.isfinite(value)}
        for key, values in group.metrics.items()
    }
    return Measurement({key: values for key, values in found.items() if values}, dict(zip(seeds, group.keys, strict=True)))


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
    """A mean or a difference of means with its standard error and Student's degrees of freedom."""

    mean: float
    error: float
    degrees: float

    def interval(self, level: float) -> Interval:
        """``mean +- t((1 + level) / 2, degrees) error``."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, 0.5 + level / 2)) * self.error if self.error > 0 else 0.0
        return self.mean - half, self.mean + half

    def p(self) -> float:
        """Two-sided, of a mean of 0; without spread 1 or 0."""
        return min(1.0, 2 * self._tail(-abs(self.mean)))

    def p_equal(self, margin: float) -> float:
        """The larger of the two one-sided p-values of a mean outside +- margin (Schuirmann 1987)."""
        return self._tail(abs(self.mean) - margin)

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        if self.error > 0:
            return float(stdtr(self.degrees, distance / self.error))
        return float(distance >= 0)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of ``values``. Raises ValueError for fewer than two."""
    n = len(values)
    if n < 2:
        raise ValueError("one value has no interval")
    mean = math.fsum(values) / n
    return Estimate(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n), n - 1)


def estimate_difference(a: Mapping[int, float], b: Mapping[int, float], paired: bool) -> Estimate:
    """mean(a) - mean(b): of the differences over common seeds, or of independent samples with Welch's degrees of freedom.

    Raises ValueError where fewer than two values are left.
    """
    if paired:
        return estimate([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])
    left, right = estimate(list(a.values())), estimate(list(b.values()))
    total = left.error**2 + right.error**2
    parts = left.error**4 / left.degrees + right.error**4 / right.degrees
    return Estimate(left.mean - right.mean, math.sqrt(total), total**2 / parts if parts > 0 else left.degrees + right.degrees)


def equivalence(inner: Interval, outer: Interval, margin: float) -> str:
    """Of a difference: ``equal`` if its 90 % interval ``inner`` lies within +- margin, which is two one-sided tests at 5 % (Schuirmann
    1987); ``different`` if its 95 % interval ``outer`` lies wholly outside; else ``open``."""
    if -margin <= inner[0] and inner[1] <= margin:
        return "equal"
    return "different" if outer[0] > margin or outer[1] < -margin else "open"
