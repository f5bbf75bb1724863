"""Names of metrics and what they mean: unit, direction, range, positive class, tie rule, source.

A key is ``name``, ``name@K`` or ``name[parameters]``, then ``/slice`` for a part of the data: ``ndcg@100``, ``nll[k=5000]``,
``fid[inception-2015,n=10000]``, ``auroc/near``. Keys that differ in anything are different metrics and never share a column. The
conventions themselves belong to the kinds of work (:mod:`elboard.bench.kinds`).

``n`` is a number of examples or samples. Where it is the only parameter (``accuracy[n=500]``) of a metric that is not ``counted``, or a
record holds the same key with a larger one (``nll[k=50,n=400]`` beside ``n=1000``), the key is of the subset that the evidence keeps:
a bare name never stands for it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from elboard.bench.errors import UserError, nearest

INF = float("inf")
SATURATED = 0.05  # in the metric's unit: how near to its ceiling an estimate says no more than that the value is not below it
KEY = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(@(?P<at>\d+))?(\[(?P<parameters>[^\[\]]+)\])?(/(?P<slice>[\w.+-]+))?")


@dataclass(frozen=True)
class Convention:
    """What a metric's name means.

    Attributes:
        direction: "higher" or "lower" is better, or "none".
        low, high: range of possible values, bounds included.
        note: positive class, tie rule, estimator, source.
        ceiling: of an estimator that cannot exceed a function of its number of examples, that function.
        of: what the first of a key's parameters must be, one of these; anything if empty.
        counted: tasks state the number of examples in its keys where those of one board differ in it.
    """

    name: str
    title: str
    unit: str
    direction: str
    low: float = -INF
    high: float = INF
    note: str = ""
    ceiling: Callable[[int], float] | None = None
    of: tuple[str, ...] = ()
    counted: bool = False


def share(name: str, title: str, direction: str, note: str = "") -> Convention:
    """The convention of a metric between 0 and 1."""
    return Convention(name, title, "", direction, 0.0, 1.0, note)


@dataclass(frozen=True)
class Key:
    """A parsed metric key; parts that are absent are empty."""

    name: str
    at: str = ""
    parameters: str = ""
    slice: str = ""


@functools.lru_cache(maxsize=4096)
def parse(key: str) -> Key:
    """Take a key apart. Raises UserError if it does not follow the grammar."""
    match = KEY.fullmatch(key)
    if match is None:
        raise UserError(f"metric key {key!r} is not of the form name, name@K or name[parameters], with /slice")
    return Key(**{part: value or "" for part, value in match.groupdict().items()})


def bare(key: str) -> str:
    """``key`` without its parameters: ``fd[mnist-cnn,n=10]/x`` -> ``fd/x``."""
    head, bracket, rest = key.partition("[")
    return head + rest.partition("]")[2] if bracket else key


@functools.lru_cache(maxsize=4096)
def count(key: str) -> int:
    """The n that ``key`` states; 0 if it states none."""
    return int((re.findall(r"[\[,]n=(\d+)", key) or ["0"])[0])


@functools.lru_cache(maxsize=4096)
def of_examples(key: str, n: int | None = None) -> str:
    """``key`` of ``n`` examples, ``nll[k=5,n=4]`` for ``nll[k=5,n=9]``; without their number if None."""
    of = parse(key)
    said = [text for text in of.parameters.split(",") if text and not text.startswith("n=")] + ([] if n is None else [f"n={n}"])
    return of.name + (f"@{of.at}" if of.at else "") + (f"[{','.join(said)}]" if said else "") + (f"/{of.slice}" if of.slice else "")


@functools.lru_cache(maxsize=4096)
def whole(keys: tuple[str, ...]) -> tuple[str, ...]:
    """``keys`` of one record without those of a subset of its examples."""
    n = {key: count(key) or 10**18 for key in keys}
    most = {of_examples(key): key for key in sorted(keys, key=n.__getitem__)}
    return tuple(
        key for key in keys if most[of_examples(key)] == key and (key == of_examples(key) or "[" in of_examples(key) or _counted(key))
    )


def _counted(key: str) -> bool:
    from elboard.bench.kinds import lookup

    found = lookup("metrics", parse(key).name)
    return found is not None and found.counted


def conventions() -> dict[str, Convention]:
    """All conventions by name, those of installed plug-ins too."""
    from elboard.bench.kinds import catalogue

    return catalogue().metrics


def convention(key: str) -> Convention:
    """The convention of ``key``. Raises UserError with the nearest names."""
    from elboard.bench.kinds import lookup

    name = parse(key).name
    found = lookup("metrics", name)
    if found is None:
        raise UserError(f"no metric {name!r}: {nearest(name, conventions())}")
    return found


def better(key: str, value: float, than: float) -> bool:
    """Whether ``value`` is strictly better; NaN never is, and any number is better than it. Raises UserError for a metric without a
    direction."""
    direction = convention(key).direction
    if direction == "none":
        raise UserError(f"metric {key!r} has no direction, so nothing can be selected by it")
    if math.isnan(than):
        return not math.isnan(value)
    return value > than if direction == "higher" else value < than


def in_range(key: str, value: float) -> bool:
    """Whether ``value`` is possible, up to rounding of 1e-6."""
    low, high = _range(key)
    return low - 1e-6 <= value <= high + 1e-6


@functools.lru_cache(maxsize=4096)
def _range(key: str) -> tuple[float, float]:
    of = convention(key)
    return of.low, of.high


@functools.lru_cache(maxsize=4096)
def ceiling(key: str) -> float:
    """The most that the estimator of ``key`` can give with the n that the key states; infinity where nothing bounds it."""
    bound, n = convention(key).ceiling, count(key)
    return bound(n) if bound and n else INF


def saturated(key: str, value: float) -> bool:
    """Whether ``value`` lies so near to the ceiling of its estimator that it is a lower bound and no more."""
    return value > ceiling(key) - SATURATED


def check_name(key: str) -> None:
    """Raises ValueError for a key that no new result may have, such as ``fid`` of another network than Inception; old records do."""
    wanted, first = convention(key).of, parse(key).parameters.split(",")[0]
    if wanted and first not in wanted:
        raise ValueError(f"metric {key!r} is of {first or 'nothing'}, and {parse(key).name} is of {' or '.join(wanted)} alone")
