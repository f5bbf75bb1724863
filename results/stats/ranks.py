"""Every two rows of a board compared, with variances moderated across the board, and what follows: ranks as ranges, and who is on top.

Three seeds say little of a pair's spread; forty-five pairs say much of how large spreads on this board are. The variances of all pairs'
differences are taken as draws of a scaled inverse chi-square distribution, whose degrees of freedom d0 and scale s0^2 are fitted by the
moments of their logarithms (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3:3, section 6.2: limma's fitFDist).
A pair with variance s^2 and d degrees of freedom has then

    moderated = (d0 s0^2 + d s^2) / (d0 + d)      with d0 + d degrees of freedom, at most those of the whole board, and
    Student's t with that variance, or with the pair's own where that is larger: what the board adds to d then fades with the square of
    the two variances' ratio, as variances enter Satterthwaite's degrees of freedom.

Two departures from limma, both for boards of a few unlike rows. The pairs of M rows are not independent: they rest on
(M - 1) / M sum_i (n_i - 1) degrees of freedom, and no pair has more (but its own). And a variance is never taken below the pair's own:
a row ten times as noisy as the others would else borrow their calm. docs/results.md has the simulation (tests/speed/ranks.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elboard.results.stats.groups import ALPHA, EXACT, UNDECIDED, Comparison, check_values, holm, pair_up
from elboard.results.stats.intervals import TINY, mean_of, t

FEWEST_PAIRS = 3  # pairs with a spread from which on a board has a prior
STATES = ("top", "worse", "undecided")


class Prior(NamedTuple):
    """Of the variances of a board's pairs: ``df`` (infinite where they differ no more than by chance) and ``variance``."""

    df: float
    variance: float


@dataclass(frozen=True)
class Pairs:
    """Every two of M rows, as arrays (M, M); entry (i, j) is of row i less row j, and NaN on the diagonal or where ``n`` is below 2.

    Attributes:
        effect: mean difference over the common seeds where the rows pair, else the difference of the means; in the values' unit.
        sd: that of one difference, by which they are tested; of independent rows sqrt(2) times that of one value.
        error: its standard error; 0 where both rows hold one and the same value for all of EXACT or more seeds, so that the difference is
            exact; NaN where else no spread was seen and the board has no prior.
        df: Student's degrees of freedom. p: two-sided, NaN where undecided.
        n: number of pairs, or of values on the smaller side. paired: whether the rows pair.
        prior: of all pairs; None where fewer than FEWEST_PAIRS have a spread.
    """

    effect: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    df: np.ndarray
    p: np.ndarray
    n: np.ndarray
    paired: np.ndarray
    prior: Prior | None

    def comparison(self, i: int, j: int) -> Comparison:
        """Row i less row j with its 95 % interval, by the board's variances."""
        effect, n, paired = float(self.effect[i, j]) + 0.0, int(self.n[i, j]), bool(self.paired[i, j])
        if np.isnan(self.p[i, j]):
            return Comparison(effect, None, None, n, None, paired, UNDECIDED[n > 1])
        half = float(t(self.df[i, j]) * self.error[i, j])
        name = ("paired t" if paired else "Welch t") if self.prior is None else f"moderated {'paired' if paired else 'Welch'} t"
        return Comparison(effect, effect - half, effect + half, n, float(self.p[i, j]), paired, name if half else "exact")

    def spread(self, i: int, j: int) -> tuple[float, float] | None:
        """``sd`` of rows i and j, and the degrees of freedom beyond k (n - 1), k = 1 paired and 2 unpaired, that the board lends them; None
        where it lends nothing."""
        if self.prior is None or not self.sd[i, j] > 0:
            return None
        own = (1 if self.paired[i, j] else 2) * (int(self.n[i, j]) - 1)
        return float(self.sd[i, j]), max(0.0, float(self.df[i, j]) - own)


def compare_rows(rows: Sequence[Mapping[int, float]]) -> Pairs:
    """Compare every two of ``rows`` (value by seed); they pair as :func:`elboard.results.stats.compare` decides.

    Raises ValueError where a row is empty or a value not finite. Does not depend on the order of the rows.
    """
    check_values(*rows)
    values = _table(rows)
    sizes = (~np.isnan(values)).sum(1)
    effect, variance, df, n, paired = _differences(values, sizes)
    rounding = TINY * np.fmax.outer(*(np.nanmax(np.abs(values), 1),) * 2) if len(rows) else np.empty((0, 0))
    with np.errstate(over="ignore"):
        still = np.nanmax(values, 1) - np.nanmin(values, 1) <= TINY * np.nanmax(np.abs(values), 1) if len(rows) else np.empty(0, bool)
    exact = still[:, None] & still[None, :] & (n >= EXACT)
    spread = np.sqrt(variance) > rounding  # no number compares as larger than NaN: pairs of fewer than two values have none
    bounded = np.isfinite(variance) & np.isfinite(df)  # one row beyond all bounds says nothing of the others
    upper = np.triu(spread & bounded, 1)
    prior = fit_prior(variance[upper], df[upper]) if upper.sum() >= FEWEST_PAIRS else None
    most = (1 - 1 / max((sizes > 1).sum(), 1)) * (sizes - 1)[~still].sum()
    variance, df = _moderated(np.where(spread, variance, 0.0), df, prior, most)
    undecided = (n < 2) | ~(exact | bounded & (spread | (prior is not None)))
    harmonic = np.where(paired, n, 2 / np.add.outer(1 / sizes, 1 / sizes))  # so that a Welch variance is on the scale of a paired one
    sd = np.where(undecided, np.nan, np.where(exact, 0.0, np.sqrt(variance)))
    error = sd / np.sqrt(harmonic)
    return Pairs(effect, sd, error, df, _p_values(effect, error, df, rounding), n, paired, prior)


def _table(rows: Sequence[Mapping[int, float]]) -> np.ndarray:
    """Values (M, S) of all seeds in order, NaN where a row has none."""
    place = {seed: column for column, seed in enumerate(sorted({seed for row in rows for seed in row}))}
    values = np.full((len(rows), len(place)), np.nan)
    for i, row in enumerate(rows):
        values[i, [place[seed] for seed in row]] = list(row.values())
    return values


def _differences(values: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Effect, variance, its degrees of freedom, n and whether paired, each (M, M), of the rows of ``values`` (M, S).

    The variance is that of one difference; of independent rows it is their squared standard error times the harmonic mean of their sizes.
    """
    count = len(values)
    effect, variance, df = (np.full((count, count), np.nan) for _ in range(3))
    n, paired = np.zeros((count, count), int), np.zeros((count, count), bool)
    filled = np.where(np.isnan(values), 0.0, values)
    means = np.array([mean_of(row[~np.isnan(row)]) for row in values])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        squares = np.where(np.isnan(values), 0.0, (values - means[:, None]) ** 2).sum(1) / (sizes - 1) / sizes  # squared standard errors
        for i in range(count - 1):
            rest = slice(i + 1, count)
            there = ~np.isnan(values[i]) & ~np.isnan(values[rest])
            common, smaller = there.sum(1), np.minimum(sizes[i], sizes[rest])
            both = pair_up(common, smaller)
            differences = (filled[i] - filled[rest]) * there
            mean = differences.sum(1) / common
            own = (there * (differences - mean[:, None]) ** 2).sum(1) / (common - 1)
            total, parts = squares[i] + squares[rest], squares[i] ** 2 / (sizes[i] - 1) + squares[rest] ** 2 / (sizes[rest] - 1)
            welch = np.where(parts > 0, total**2 / parts, sizes[i] + sizes[rest] - 2)
            effect[i, rest] = np.where(both, mean, means[i] - means[rest])
            variance[i, rest] = np.where(both, own, total * 2 / (1 / sizes[i] + 1 / sizes[rest]))
            df[i, rest] = np.where(both, common - 1, np.where(smaller < 2, np.nan, welch))
            n[i, rest], paired[i, rest] = np.where(both, common, smaller), both
    lower = np.tril_indices(count, -1)
    for array, sign in ((effect, -1), (variance, 1), (df, 1), (n, 1), (paired, 1)):
        array[lower] = sign * array.T[lower]
    return effect, variance, df, n, paired


def fit_prior(variances: np.ndarray, df: np.ndarray) -> Prior:
    """Prior of positive ``variances`` (P,) with ``df`` (P,) degrees of freedom each; P is at least 2 (Smyth 2004, section 6.2)."""
    from scipy.special import digamma, polygamma

    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    excess = logs.var(ddof=1) - polygamma(1, df / 2).mean()
    if excess <= 0:
        return Prior(np.inf, float(variances.mean()))
    half = inverse_trigamma(float(excess))
    return Prior(2 * half, float(np.exp(logs.mean() + digamma(half) - np.log(half))))


def inverse_trigamma(x: float) -> float:
    """The y > 0 with trigamma(y) = ``x`` > 0, by Newton's method on 1 / trigamma, which is nearly linear (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    if x > 1e7:
        return x**-0.5
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = polygamma(1, y)
        step = trigamma * (1 - trigamma / x) / polygamma(2, y)
        y += step
        if abs(step) < 1e-14 * y:
            break
    return float(y)


def _moderated(variance: np.ndarray, df: np.ndarray, prior: Prior | None, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom that the tests use; ``most``: degrees of freedom of the whole board."""
    if prior is None:
        return variance, df
    shared = np.full_like(variance, prior.variance) if np.isinf(prior.df) else (prior.df * prior.variance + df * variance) / (prior.df + df)
    larger = np.maximum(shared, variance)
    with np.errstate(invalid="ignore"):
        return larger, df + np.maximum(np.minimum(prior.df, most - df), 0) * (shared / larger) ** 2


def _p_values(effect: np.ndarray, error: np.ndarray, df: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Two-sided p (M, M); of exact differences 1 or 0, as they are within ``rounding`` or not."""
    from scipy.special import stdtr

    exact = error == 0
    p = 2 * stdtr(df, -np.abs(effect) / np.where(exact, 1.0, error))
    return np.where(exact, np.where(np.abs(effect) <= rounding, 1.0, 0.0), p)


class Standing(NamedTuple):
    """Where a row stands: ``low`` = 1 + the number of rows significantly better, ``high`` = the number of rows that can be compared less
    those significantly worse; both None where it can be compared with none. ``state`` is one of STATES, see :func:`standings`."""

    low: int | None
    high: int | None
    state: str


def standings(pairs: Pairs, means: Sequence[float] | np.ndarray, direction: str, alpha: float = ALPHA) -> list[Standing]:
    """Standing of each of M rows with ``means`` (M,), by ``pairs`` after Holm's correction; ``direction``: "higher" or "lower" is better.

    Which of two rows is better is said by the pair, not by the means, which may be over other seeds. A row is

    * ``worse`` if it is significantly worse than any other;
    * ``top`` if it is not, stands below none of the rows that the leader is significantly better than, and is itself significantly better
      than most of them. The leader is the row, of those worse than none, that is significantly better than most rows; of equals
      the one with the best mean;
    * ``undecided`` else: it may be among the best or among those known to be worse, or nothing was compared.

    To be not significantly worse is no merit: two noisy seeds manage that. Hence a row on top must itself be told from the rows that the
    leader is told from. From most of them, not from all: those nearest to the leader lie within reach of every other row on top. The rule
    counts tests instead of asking whether an interval reaches the last row's mean, which one row that diverged would move out of reach.
    Raises ValueError for another direction or shape.
    """
    means = np.asarray(means, dtype=float)
    if direction not in ("higher", "lower"):
        raise ValueError(f"direction is {direction!r}, not 'higher' or 'lower'")
    if pairs.p.shape != (len(means), len(means)):
        raise ValueError(f"pairs of {len(pairs.p)} rows need as many means, not {len(means)}")
    sign = 1 if direction == "higher" else -1
    adjusted = adjust(pairs.p)
    better = (adjusted <= alpha) & (sign * pairs.effect > 0)  # [i, j]: i is significantly better than j
    tested = ~np.isnan(adjusted).all(1)
    unbeaten = tested & ~better.any(0)
    wins = better.sum(1)
    top = np.zeros(len(means), bool)
    if (wins * unbeaten).any():
        leader = max(np.flatnonzero(unbeaten), key=lambda i: (wins[i], sign * means[i]))
        known = better[leader]
        above = sign * means >= (sign * means[known]).max()
        top = unbeaten & above & (2 * (better & known).sum(1) > known.sum())
        top[leader] = True
    state = np.where(top, "top", np.where(unbeaten | ~tested, "undecided", "worse"))
    low, high = 1 + better.sum(0), tested.sum() - wins
    return [
        Standing(int(a), int(b), str(word)) if there else Standing(None, None, "undecided")
        for a, b, word, there in zip(low, high, state, tested, strict=True)
    ]


def adjust(p: np.ndarray) -> np.ndarray:
    """Symmetric p-values (M, M) adjusted by Holm's method over their upper triangle."""
    upper = np.triu_indices(len(p), 1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[upper] = holm(p[upper])
    adjusted.T[upper] = adjusted[upper]
    return adjusted
