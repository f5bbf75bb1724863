"""Two methods alone: the effect over seeds (or splits), its p-value, and how many more seeds would separate the two.

Each comparison gives a 95 % interval and a two-sided p-value of one and the same distribution, so that p < 0.05 where the interval
leaves out zero. Under six repetitions it is Student's t (paired, or Welch's). From six on it is the bootstrap of
results/stats/intervals.py: t is the effect over the bootstrap's arm that faces zero, in units of z, and p is Student's tail at t.
The tail is Student's because a share of resamples cannot be below one in their number, and a correction for many tests needs less.

The rows of a board share what is known of their spread: results/stats/ranks.py.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elboard.results.stats.intervals import FEWEST, TINY, arms, deviations, mean_of, t, z

UNDECIDED = ("undecided (n=1)", "undecided (no spread)")
ALPHA, POWER = 0.05, 0.8
EXACT = 5  # seeds of one and the same value from which on it is no chance; of fewer it may be, where a metric is a share of few examples
MOST = 100_000  # seeds; beyond it the answer is that the two are equal for all purposes


@dataclass(frozen=True)
class Comparison:
    """``effect`` = mean(a) - mean(b), its 95 % interval and two-sided ``p``, in the unit of the values.

    ``n`` is the number of pairs, or of values on the smaller side. ``test`` is "paired t" or "Welch t" (n < 6), "paired bootstrap"
    or "bootstrap" (else); of rows of a board "moderated paired t" or "moderated Welch t". It is "exact" where each side holds one and
    the same value for all of EXACT or more seeds: p is 1 if they are equal, else 0. It is one of UNDECIDED, with ``p``, ``low`` and
    ``high`` None, for one value, or where differences of fewer seeds, or of values that vary, do not vary: chance or rounding.
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
    Where both sides hold one and the same value for all of EXACT or more seeds, the difference is exact: p = 1 if it is zero, else 0. A
    difference that does not vary of fewer seeds, or between values that vary, is undecided.
    """
    check_values(a, b)
    common = sorted(a.keys() & b.keys())
    n = min(len(a), len(b))
    paired = bool(pair_up(len(common), n))
    n = len(common) if paired else n
    rounding = TINY * max(abs(value) for side in (a, b) for value in side.values())
    still = all(max(side.values()) - min(side.values()) <= rounding for side in (a, b))
    if paired:
        differences = np.array([a[seed] - b[seed] for seed in common])
        effect, df, (below, above) = float(mean_of(differences)), n - 1, _paired_arms(differences)
    else:
        x, y = (np.sort(np.fromiter(side.values(), dtype=float)) for side in (a, b))
        effect = float(mean_of(x) - mean_of(y))
        df, (below, above) = _independent_arms(x, y) if n > 1 else (1.0, (0.0, 0.0))
    if n >= EXACT and still:
        return Comparison(effect, effect, effect, n, float(abs(effect) <= rounding), paired, "exact")
    facing = below if effect > 0 else above
    if n < 2 or facing <= rounding:
        return Comparison(effect, None, None, n, None, paired, UNDECIDED[n > 1])
    stretch = float(t(df) / z())
    name = ("paired bootstrap" if paired else "bootstrap") if n >= FEWEST else "paired t" if paired else "Welch t"
    return Comparison(effect, effect - stretch * below, effect + stretch * above, n, _tail(effect, facing, df), paired, name)


def pair_up(common: int | np.ndarray, smaller: int | np.ndarray) -> bool | np.ndarray:
    """Whether sides of which the smaller has ``smaller`` seeds are compared over the ``common`` ones."""
    return (common >= 2) & (5 * common >= 4 * smaller)


def check_values(*rows: Mapping[int, float]) -> None:
    """Raise ValueError where a row is empty or a value is not finite."""
    for row in rows:
        if not row:
            raise ValueError("nothing to compare: one side has no values")
        for seed, value in row.items():
            if not math.isfinite(value):
                raise ValueError(f"values to compare must be finite, not {value} (seed {seed})")


def _tail(effect: float, arm: float, df: float) -> float:
    """Two-sided p of an effect whose arm that faces zero, at z(0.975), is ``arm``."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(effect) * z() / arm))


def _paired_arms(differences: np.ndarray) -> tuple[float, float]:
    """Arms below and above the mean, at z(0.975), of paired ``differences`` (n,)."""
    if len(differences) >= FEWEST:
        return _numbers(arms(deviations(differences[None])))
    return (float(z() * differences.std(ddof=1) / math.sqrt(len(differences))),) * 2


def _independent_arms(x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Welch's degrees of freedom, and arms as of ``_paired_arms``, of two independent samples (n,) and (m,), sorted; n, m >= 2."""
    errors = [float(side.var(ddof=1)) / len(side) for side in (x, y)]
    total, parts = sum(errors), errors[0] ** 2 / (len(x) - 1) + errors[1] ** 2 / (len(y) - 1)
    df = total**2 / parts if parts > 0 else len(x) + len(y) - 2
    if min(len(x), len(y)) < FEWEST:
        return df, (z() * math.sqrt(total),) * 2
    # Which side gets which stream must not depend on which is called a.
    streams = (1, 2) if (len(x), tuple(x)) <= (len(y), tuple(y)) else (2, 1)
    return df, _numbers(arms(deviations(x[None], streams[0]) - deviations(y[None], streams[1])))


def _numbers(of_one: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    return float(of_one[0][0]), float(of_one[1][0])


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


@dataclass(frozen=True)
class Needed:
    """Seeds that separate two methods: ``extra_seeds`` more of each method, ``total`` with those that the comparison rests on.

    Both are None where there is no answer, and ``reason`` says why; it is empty otherwise.
    """

    extra_seeds: int | None = None
    total: int | None = None
    reason: str = ""


def needed(a: Mapping[int, float], b: Mapping[int, float], board: tuple[float, float] | None = None) -> Needed:
    """Seeds per method at which a two-sided t test at level ALPHA has POWER, if effect and sd are as observed.

    With ``board``, the sd of one difference and the degrees of freedom beyond those of the two that the board lends the test
    (:meth:`elboard.results.stats.ranks.Pairs.spread`), it is the board's test whose power is meant.

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
    sd, lent = (sd, 0.0) if board is None else (board[0] / math.sqrt(sides), board[1])
    if sd <= TINY * size and found.p is None:
        return Needed(reason="equal differences say nothing of the spread: run more seeds of each")
    if sd <= TINY * size:
        return Needed(reason="the seeds do not vary: they are separated already")
    ratio = abs(found.effect) / sd
    extra = bisect_left(range(found.n, MOST + 1), True, key=lambda n: power_of(n, ratio, sides, lent) >= POWER)  # power grows with n
    if found.n + extra > MOST:
        return Needed(reason=f"more than {MOST:,} seeds: equal for all purposes")
    return Needed(extra, found.n + extra)


def power_of(n: int, ratio: float, sides: int, lent: float = 0.0) -> float:
    """Power of the two-sided t test at ALPHA: ``n`` seeds a method, ``ratio`` = effect / sd, ``sides`` 1 (paired) or 2 (independent).

    ``lent``: degrees of freedom beyond the two methods' own.
    """
    from scipy.special import nctdtr, stdtrit

    df, shift = sides * (n - 1) + lent, ratio * math.sqrt(n / sides)
    border = stdtrit(df, 1 - ALPHA / 2)
    missed, wrong_side = np.nan_to_num(nctdtr(df, shift, [border, -border]))  # SciPy gives NaN where it underflows: below 1e-12
    return float(1 - missed + wrong_side)
