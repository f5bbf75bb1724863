"""How many more seeds would separate two methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elboard.results.stats.groups import compare
from elboard.results.stats.intervals import TINY

MOST = 100_000  # seeds; beyond it the answer is that the two are equal for all purposes


@dataclass(frozen=True)
class Needed:
    """Seeds that separate two methods: ``extra_seeds`` more of each method, ``total`` with the ``now`` that the comparison rests on.

    ``effect`` = mean(a) - mean(b), ``sd`` that of the differences where the seeds pair, else the pooled one, in the unit of the
    values. ``extra_seeds`` and ``total`` are None where there is no answer, and ``reason`` says why; it is empty otherwise.
    """

    extra_seeds: int | None
    total: int | None
    effect: float
    sd: float | None
    now: int
    reason: str = ""


def needed(a: Mapping[int, float], b: Mapping[int, float], alpha: float = 0.05, power: float = 0.8) -> Needed:
    """Seeds per method at which a two-sided t test at level ``alpha`` has ``power``, if effect and sd are as observed.

    Paired or not as ``compare`` decides; unpaired, with equal numbers on both sides. The power of n seeds is that of the noncentral
    t with noncentrality |effect| / (sd sqrt(k / n)) and k (n - 1) degrees of freedom, k = 1 paired and 2 unpaired (Cohen 1988, chapter 2).
    An estimate from few seeds: the effect of two methods that happen to differ much is too large, and the answer then too small.
    Raises ValueError where a side is empty or alpha or power is not between 0 and 1.
    """
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, not between 0 and 1")
    found = compare(a, b)
    if found.n < 2:
        return Needed(None, None, found.effect, None, found.n, "one value says nothing of the spread: run at least 2 seeds of each")
    size = max(abs(value) for side in (a, b) for value in side.values())
    if found.paired:
        sd, sides = float(np.std([a[seed] - b[seed] for seed in a.keys() & b.keys()], ddof=1)), 1
    else:
        sd, sides = math.sqrt((np.var(list(a.values()), ddof=1) + np.var(list(b.values()), ddof=1)) / 2), 2
    if abs(found.effect) <= TINY * size:
        return Needed(None, None, found.effect, sd, found.n, "the means are equal: no number of seeds separates them")
    if sd <= TINY * size:
        return Needed(None, None, found.effect, sd, found.n, "the seeds do not vary: they are separated already")
    total = _smallest(abs(found.effect) / sd, sides, found.n, alpha, power)
    if total is None:
        return Needed(None, None, found.effect, sd, found.n, f"more than {MOST:,} seeds: equal for all purposes")
    return Needed(total - found.n, total, found.effect, sd, found.n)


def power_of(n: int, ratio: float, sides: int, alpha: float = 0.05) -> float:
    """Power of the two-sided t test with ``n`` seeds a method, ``ratio`` = effect / sd, ``sides`` 1 (paired) or 2 (independent)."""
    from scipy.special import nctdtr, stdtrit

    df, shift = sides * (n - 1), ratio * math.sqrt(n / sides)
    border = stdtrit(df, 1 - alpha / 2)
    missed, wrong_side = np.nan_to_num(nctdtr(df, shift, [border, -border]))  # SciPy gives NaN where it underflows: below 1e-12
    return float(1 - missed + wrong_side)


def _smallest(ratio: float, sides: int, now: int, alpha: float, power: float) -> int | None:
    """The smallest n >= ``now`` with the power; None above MOST. Power grows with n, so n is found by doubling, then halving."""
    if power_of(now, ratio, sides, alpha) >= power:
        return now
    low, high = now, 2 * now
    while power_of(high, ratio, sides, alpha) < power:
        if high > MOST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle, ratio, sides, alpha) >= power else (middle, high)
    return high if high <= MOST else None
