"""Which methods can be told apart: effects, p-values and ranks over seeds (or splits).

Each comparison gives a 95 % interval and a two-sided p-value of one and the same distribution, so that p < 0.05 where the interval
leaves out zero. Under six repetitions it is Student's t (paired, or Welch's). From six on it is the bootstrap of
results/stats/intervals.py: t is the effect over the bootstrap's arm that faces zero, in units of z, and p is Student's tail at t.
The tail is Student's because a share of resamples cannot be below one in their number, which after Holm's correction for the 4,950
pairs of 100 methods separates nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elboard.results.stats.intervals import FEWEST, LOWEST, TINY, arms, deviations, kept_deviations, mean_of, t, z

UNDECIDED = "undecided (n=1)"
ROWS = 16  # differences of resamples at once: they stay in the processor's cache
MANY = 128  # differences resampled at once: the weights are read once for all of them


@dataclass(frozen=True)
class Comparison:
    """``effect`` = mean(a) - mean(b), its 95 % interval and two-sided ``p``, in the unit of the values.

    ``n`` is the number of pairs, or of values on the smaller side. ``test`` is "paired t" or "Welch t" (n < 6), "paired bootstrap"
    or "bootstrap" (else), or "undecided (n=1)", where ``p``, ``low`` and ``high`` are None.
    """

    effect: float
    low: float | None
    high: float | None
    n: int
    p: float | None
    paired: bool
    test: str


@dataclass(frozen=True)
class Pairwise:
    """All comparisons of M methods: ``effect`` and ``p`` (M, M), entry [i, j] of method i with method j; NaN in ``p`` = undecided.

    The diagonal of ``p`` is NaN too: nothing is compared with itself.
    """

    effect: np.ndarray
    p: np.ndarray


def compare(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Compare two methods' values by seed. Raises ValueError where a side is empty or a value is not finite.

    Paired where at least two seeds are common and they are four of five of the smaller side's (a run that failed does not unpair the
    others); the effect is then the mean difference over these seeds, and what else there is is not used. Otherwise the two samples are
    independent (Welch).
    A difference that is the same for every pair (or two sides that do not vary) has p = 1 if it is zero, else p = 0.
    """
    _check(a, b)
    common = sorted(a.keys() & b.keys())
    smaller = min(len(a), len(b))
    if _pair_up(len(common), smaller):
        smaller = len(common)
        x, y = (np.array([[side[seed] for seed in common]], dtype=float) for side in (a, b))
        found = _paired(x, y)
        names = ("paired t", "paired bootstrap")
    else:
        x, y = (np.array([sorted(side.values())], dtype=float) for side in (a, b))
        if smaller < 2:
            return Comparison(float((mean_of(x) - mean_of(y))[0]), None, None, smaller, None, False, UNDECIDED)
        found = _independent(x, y)
        names = ("Welch t", "bootstrap")
    effect, low, high, p = (float(column[0]) for column in found)
    return Comparison(effect, low, high, smaller, p, names[0].startswith("paired"), names[smaller >= FEWEST])


def _pair_up(common: int | np.ndarray, smaller: int | np.ndarray) -> bool | np.ndarray:
    """Whether sides of which the smaller has ``smaller`` seeds are compared over the ``common`` ones."""
    return (common >= 2) & (5 * common >= 4 * smaller)


def _check(*rows: Mapping[int, float]) -> None:
    for row in rows:
        if not row:
            raise ValueError("nothing to compare: one side has no values")
        for seed, value in row.items():
            if not math.isfinite(value):
                raise ValueError(f"values to compare must be finite, not {value} (seed {seed})")


def _judge(
    effect: np.ndarray, df: float | np.ndarray, below: np.ndarray, above: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effect, low, high and p, each (C,), from the arms ``below`` and ``above`` at z(0.975); ``size``: of the largest values."""
    stretch = t(df) / z()
    p = _p_value(effect, df, np.where(effect > 0, below, above), size)
    return effect, effect - stretch * below, effect + stretch * above, p


def _p_value(effect: np.ndarray, df: float | np.ndarray, arm: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Two-sided p (C,) of effects whose arm that faces zero is ``arm``; values that do not vary have p = 1 at zero, else 0."""
    from scipy.special import stdtr

    still = arm <= TINY * size
    p = 2 * stdtr(df, -np.abs(effect) * z() / np.where(still, 1.0, arm))
    return np.where(still, np.where(np.abs(effect) <= TINY * size, 1.0, 0.0), p)


def _paired(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effect, low, high and p, each (C,), of the rows of ``x`` and ``y`` (C, n), paired."""
    n, differences = x.shape[1], x - y
    size = np.maximum(np.abs(x).max(1), np.abs(y).max(1))
    below, above = arms(deviations(differences)) if n >= FEWEST else (z() * np.sqrt(differences.var(1, ddof=1) / n),) * 2
    return _judge(mean_of(differences), n - 1, below, above, size)


def _independent(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Effect, low, high and p, each (1,), of two independent samples (1, n) and (1, m), sorted; Welch's degrees of freedom."""
    errors = [side.var(1, ddof=1) / side.shape[1] for side in (x, y)]
    total = errors[0] + errors[1]
    still = total <= 0
    parts = errors[0] ** 2 / (x.shape[1] - 1) + errors[1] ** 2 / (y.shape[1] - 1)
    df = np.where(still, 1.0, total**2 / np.where(still, 1.0, parts))
    if min(x.shape[1], y.shape[1]) < FEWEST:
        below = above = z() * np.sqrt(total)
    else:
        # Which side gets which stream must not depend on which is called a.
        of_x, of_y = tuple(x[0].tolist()), tuple(y[0].tolist())
        streams = (1, 2) if (len(of_x), of_x) <= (len(of_y), of_y) else (2, 1)
        below, above = arms(kept_deviations(of_x, streams[0]) - kept_deviations(of_y, streams[1]))
    size = np.maximum(np.abs(x).max(1), np.abs(y).max(1))
    return _judge(mean_of(x) - mean_of(y), df, below, above, size)


def pairwise(rows: Sequence[Mapping[int, float]]) -> Pairwise:
    """``compare`` of every two of ``rows`` (value by seed), to rounding; methods with the same seeds are computed together.

    Raises ValueError as it does. Does not depend on the order of the rows.
    """
    _check(*rows)
    count = len(rows)
    effect, p = np.zeros((count, count)), np.full((count, count), np.nan)
    same: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        same[tuple(sorted(row))].append(place)
    for seeds, places in same.items():
        if len(seeds) >= 2 and len(places) > 1:
            values = np.array([[rows[place][seed] for seed in seeds] for place in places], dtype=float)
            block = np.ix_(places, places)
            effect[block], p[block] = _block(values)
    group = {place: seeds for seeds, places in same.items() for place in places}
    rest = [(i, j) for i in range(count) for j in range(i + 1, count) if group[i] != group[j] or len(group[i]) < 2]
    alone = []
    for i, j, found in _ragged(rows, rest, alone):
        effect[i, j], effect[j, i] = found[0], -found[0]
        p[i, j] = p[j, i] = found[1]
    for i, j in alone:
        found = compare(rows[i], rows[j])
        effect[i, j], effect[j, i] = found.effect, -found.effect
        p[i, j] = p[j, i] = np.nan if found.p is None else found.p
    return Pairwise(effect, p)


def _ragged(
    rows: Sequence[Mapping[int, float]], pairs: Sequence[tuple[int, int]], alone: list[tuple[int, int]]
) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """``(i, j, (effect, p))`` of those of ``pairs`` that are compared over common seeds though they differ in others; the rest go to
    ``alone``. Pairs with equally many common seeds are computed together."""
    if not pairs:
        return
    seeds = {seed: place for place, seed in enumerate(sorted({seed for row in rows for seed in row}))}
    values = np.full((len(rows), len(seeds)), np.nan)
    for place, row in enumerate(rows):
        values[place, [seeds[seed] for seed in row]] = list(row.values())
    there = ~np.isnan(values)
    common, sizes = there.astype(int) @ there.T.astype(int), there.sum(1)
    by_count: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, j in pairs:
        n = int(common[i, j])
        (by_count[n] if _pair_up(n, min(sizes[i], sizes[j])) else alone).append((i, j))
    for together in by_count.values():
        for first in range(0, len(together), MANY):
            few = together[first : first + MANY]
            masks = [there[i] & there[j] for i, j in few]
            x, y = (np.stack([values[pair[side], mask] for pair, mask in zip(few, masks, strict=True)]) for side in (0, 1))
            effects, _, _, p = _paired(x, y)
            yield from ((i, j, (float(e), float(q))) for (i, j), e, q in zip(few, effects, p, strict=True))


def _block(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Effects and p-values (M, M) of the rows of ``values`` (M, n), all paired."""
    order = np.argsort(-values.mean(1), kind="stable")  # differences are then positive: only their lower arm is needed
    values = values[order]
    count, n = values.shape
    size = np.abs(values).max(1)
    resampled = deviations(values) if n >= FEWEST else np.empty((count, 0))
    effect, p = np.zeros((count, count)), np.full((count, count), np.nan)
    for i in range(count - 1):
        for j in range(i + 1, count, ROWS):
            rest = slice(j, j + ROWS)
            differences = values[i] - values[rest]
            mean = mean_of(differences)
            if n >= FEWEST:
                below = resampled[i] - resampled[rest]
                below.partition(LOWEST, axis=1)
                arm = -below[:, LOWEST]
            else:
                arm = z() * np.sqrt(differences.var(1, ddof=1) / n)
            effect[i, rest] = mean
            p[i, rest] = p[rest, i] = _p_value(mean, n - 1, arm, np.maximum(size[i], size[rest]))
    back = np.argsort(order)
    return (effect - effect.T)[np.ix_(back, back)], p[np.ix_(back, back)]


def holm(p: np.ndarray) -> np.ndarray:
    """P-values adjusted by Holm (1979, Scandinavian Journal of Statistics 6:65-70) over the finite entries of ``p``, in its shape.

    NaN stays NaN and counts as no test.
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    finite = np.isfinite(p)
    values = p[finite]
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order])
    result = np.empty(len(values))
    result[order] = np.minimum(steps, 1.0)
    adjusted[finite] = result
    return adjusted


def ranks(means: Sequence[float] | np.ndarray, p: np.ndarray, direction: str, alpha: float = 0.05) -> list[int | None]:
    """Rank of each of M methods: 1 + the number of methods significantly better, after Holm's correction over all pairs.

    ``means`` (M,), ``p`` (M, M) of ``pairwise``, ``direction`` "higher" or "lower" (what is better). Methods with equal ranks form
    a group. None where a method could be compared with no other (n = 1). Raises ValueError for another direction or shape.
    """
    means, p = np.asarray(means, dtype=float), np.asarray(p, dtype=float)
    if direction not in ("higher", "lower"):
        raise ValueError(f"direction is {direction!r}, not 'higher' or 'lower'")
    if p.shape != (len(means), len(means)):
        raise ValueError(f"p has the shape {p.shape}; {len(means)} means need {(len(means), len(means))}")
    upper = np.triu_indices(len(means), 1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[upper] = holm(p[upper])
    adjusted.T[upper] = adjusted[upper]
    gain = means[None, :] - means[:, None] if direction == "higher" else means[:, None] - means[None, :]
    better = (adjusted <= alpha) & (gain > 0)
    undecided = np.isnan(adjusted).all(1) & (len(means) > 1)
    return [None if nothing else int(1 + count) for nothing, count in zip(undecided, better.sum(1), strict=True)]
