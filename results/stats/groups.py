"""Which methods can be told apart: effects, p-values and ranks over seeds (or splits), and how many more seeds would separate two.

Each comparison gives a 95 % interval and a two-sided p-value of one and the same distribution, so that p < 0.05 where the interval
leaves out zero. Under six repetitions it is Student's t (paired, or Welch's). From six on it is the bootstrap of
results/stats/intervals.py: t is the effect over the bootstrap's arm that faces zero, in units of z, and p is Student's tail at t.
The tail is Student's because a share of resamples cannot be below one in their number, which after Holm's correction for the 4,950
pairs of 100 methods separates nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elboard.results.stats.intervals import FEWEST, LOWEST, TINY, arms, deviations, kept_deviations, mean_of, t, z

UNDECIDED = "undecided (n=1)"
ALPHA, POWER = 0.05, 0.8
MOST = 100_000  # seeds; beyond it the answer is that the two are equal for all purposes
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


def pairwise(rows: Sequence[Mapping[int, float]]) -> np.ndarray:
    """P-values (M, M) by ``compare`` of every two of ``rows`` (value by seed), to rounding; NaN is undecided, and the diagonal.

    Methods with the same seeds are computed together. Raises ValueError as it does. Does not depend on the order of the rows.
    """
    _check(*rows)
    p = np.full((len(rows), len(rows)), np.nan)
    same: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        same[tuple(sorted(row))].append(place)
    for seeds, places in same.items():
        if len(seeds) >= 2 and len(places) > 1:
            p[np.ix_(places, places)] = _block(np.array([[rows[place][seed] for seed in seeds] for place in places], dtype=float))
    for i, j, found in _ragged(rows, np.argwhere(np.triu(np.isnan(p), 1)).tolist()):
        p[i, j] = p[j, i] = np.nan if found is None else found
    return p


def _ragged(rows: Sequence[Mapping[int, float]], pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, float | None]]:
    """``(i, j, p)`` of ``pairs`` whose seeds differ; those that pair over equally many common seeds are computed together."""
    seeds = {seed: place for place, seed in enumerate(sorted({seed for row in rows for seed in row}))}
    values = np.full((len(rows), len(seeds)), np.nan)
    for place, row in enumerate(rows):
        values[place, [seeds[seed] for seed in row]] = list(row.values())
    there = ~np.isnan(values)
    common, sizes = there.astype(int) @ there.T.astype(int), there.sum(1)
    by_count: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, j in pairs:
        n = int(common[i, j])
        if _pair_up(n, min(sizes[i], sizes[j])):
            by_count[n].append((i, j))
        else:
            yield i, j, compare(rows[i], rows[j]).p
    for together in by_count.values():
        for first in range(0, len(together), MANY):
            few = together[first : first + MANY]
            masks = [there[i] & there[j] for i, j in few]
            x, y = (np.stack([values[pair[side], mask] for pair, mask in zip(few, masks, strict=True)]) for side in (0, 1))
            yield from ((i, j, p) for (i, j), p in zip(few, _paired(x, y)[3].tolist(), strict=True))


def _block(values: np.ndarray) -> np.ndarray:
    """P-values (M, M) of the rows of ``values`` (M, n), all paired."""
    order = np.argsort(-values.mean(1), kind="stable")  # differences are then positive: only their lower arm is needed
    values = values[order]
    count, n = values.shape
    size = np.abs(values).max(1)
    resampled = deviations(values) if n >= FEWEST else np.empty((count, 0))
    p = np.full((count, count), np.nan)
    for i in range(count - 1):
        for j in range(i + 1, count, ROWS):
            rest = slice(j, j + ROWS)
            differences = values[i] - values[rest]
            if n >= FEWEST:
                below = resampled[i] - resampled[rest]
                below.partition(LOWEST, axis=1)
                arm = -below[:, LOWEST]
            else:
                arm = z() * np.sqrt(differences.var(1, ddof=1) / n)
            p[i, rest] = p[rest, i] = _p_value(mean_of(differences), n - 1, arm, np.maximum(size[i], size[rest]))
    back = np.argsort(order)
    return p[np.ix_(back, back)]


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


def ranks(means: Sequence[float] | np.ndarray, p: np.ndarray, direction: str, alpha: float = ALPHA) -> list[int | None]:
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


@dataclass(frozen=True)
class Needed:
    """Seeds that separate two methods: ``extra_seeds`` more of each method, ``total`` with those that the comparison rests on.

    Both are None where there is no answer, and ``reason`` says why; it is empty otherwise.
    """

    extra_seeds: int | None = None
    total: int | None = None
    reason: str = ""


def needed(a: Mapping[int, float], b: Mapping[int, float]) -> Needed:
    """Seeds per method at which a two-sided t test at level ALPHA has POWER, if effect and sd are as observed.

    Paired or not as ``compare`` decides; unpaired, with equal numbers on both sides. The power of n seeds is that of the noncentral
    t with noncentrality |effect| / (sd sqrt(k / n)) and k (n - 1) degrees of freedom, k = 1 paired and 2 unpaired (Cohen 1988, chapter 2).
    An estimate from few seeds: the effect of two methods that happen to differ much is too large, and the answer then too small.
    Raises ValueError where a side is empty.
    """
    found = compare(a, b)
    if found.n < 2:
        return Needed(reason="one value says nothing of the spread: run at least 2 seeds of each")
    size = max(abs(value) for side in (a, b) for value in side.values())
    if found.paired:
        sd, sides = float(np.std([a[seed] - b[seed] for seed in a.keys() & b.keys()], ddof=1)), 1
    else:
        sd, sides = math.sqrt((np.var(list(a.values()), ddof=1) + np.var(list(b.values()), ddof=1)) / 2), 2
    if abs(found.effect) <= TINY * size:
        return Needed(reason="the means are equal: no number of seeds separates them")
    if sd <= TINY * size:
        return Needed(reason="the seeds do not vary: they are separated already")
    ratio = abs(found.effect) / sd
    extra = bisect_left(range(found.n, MOST + 1), True, key=lambda n: power_of(n, ratio, sides) >= POWER)  # power grows with n
    if found.n + extra > MOST:
        return Needed(reason=f"more than {MOST:,} seeds: equal for all purposes")
    return Needed(extra, found.n + extra)


def power_of(n: int, ratio: float, sides: int) -> float:
    """Power of the two-sided t test at ALPHA: ``n`` seeds a method, ``ratio`` = effect / sd, ``sides`` 1 (paired) or 2 (independent)."""
    from scipy.special import nctdtr, stdtrit

    df, shift = sides * (n - 1), ratio * math.sqrt(n / sides)
    border = stdtrit(df, 1 - ALPHA / 2)
    missed, wrong_side = np.nan_to_num(nctdtr(df, shift, [border, -border]))  # SciPy gives NaN where it underflows: below 1e-12
    return float(1 - missed + wrong_side)
