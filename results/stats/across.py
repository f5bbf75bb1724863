"""Methods over several tasks.

``table`` holds values of a metric: (..., M methods, T tasks, S seeds), NaN where absent; ``higher`` (T,) says on which tasks more is
better (one bool stands for all). Leading axes, if any, are resamples. ``scores`` is a table from ``normalise``: higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elboard.results.stats.intervals import LEVEL, TINY

Statistic = Callable[[np.ndarray], np.ndarray]
CHUNK = 250_000  # values resampled at once: they stay in the processor's cache


def oriented(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool) -> np.ndarray:
    """``table`` with the sign turned where lower is better, so that higher is better everywhere. Raises ValueError for other shapes."""
    table, higher = np.asarray(table, dtype=float), np.asarray(higher, dtype=bool)
    if higher.ndim and higher.shape != table.shape[-2:-1]:
        raise ValueError(f"higher has the shape {higher.shape}; the table has {table.shape[-2]} tasks")
    return np.where(higher[..., None], table, -table)


def _mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over ``axis`` of what is present; NaN where nothing is."""
    absent = np.isnan(values)
    if not absent.any():
        return values.mean(axis)
    with np.errstate(invalid="ignore"):
        return np.where(absent, 0.0, values).sum(axis) / (~absent).sum(axis)


def task_ranks(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool) -> np.ndarray:
    """Rank of each method's mean on each task, (..., M, T): 1 is best, ties share the middle rank, NaN where the method is absent."""
    means = _mean(oriented(table, higher))
    ranks = np.full(means.shape, 0.5)  # the method's comparison with itself adds the other half
    for method in range(means.shape[-2]):
        rival = means[..., method : method + 1, :]
        ranks += 0.5 * (rival > means)
        ranks += 0.5 * (rival >= means)
    return np.where(np.isnan(means), np.nan, ranks)


def mean_rank(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool) -> np.ndarray:
    """Mean over tasks of the rank of a method's mean (Demsar 2006, JMLR 7:1-30), (..., M); lower is better.

    A task counts only for the methods present on it, which rank among themselves: compare complete tables.
    """
    return _mean(task_ranks(table, higher))


def _wins(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of seeds that i won against j (ties half), and pairs played, by task: two (..., M, M, T) of an oriented table."""
    *lead, methods, tasks, seeds = table.shape
    count = (~np.isnan(table)).sum(-1)
    played = (count[..., :, None, :] * count[..., None, :, :]).astype(float)
    # Resamples last and in one piece, and sums in bytes: the comparisons then run at the speed of the memory.
    columns = np.ascontiguousarray(table.reshape(-1, methods, tasks, seeds).transpose(3, 1, 2, 0))
    wins = np.zeros((methods, methods, *columns.shape[2:]))
    for method in range(methods - 1):
        rivals = columns[:, method + 1 :]
        twice = np.zeros(rivals.shape[1:], dtype=np.int32)
        for one in columns[:, method]:
            for first in range(0, seeds, 100):
                few = np.zeros(twice.shape, dtype=np.uint8)
                for other in rivals[first : first + 100]:
                    few += (one > other).view(np.uint8)
                    few += (one >= other).view(np.uint8)
                twice += few
        wins[method, method + 1 :] = twice / 2
    wins = wins.transpose(3, 0, 1, 2).reshape(*lead, methods, methods, tasks)
    upper = np.triu(np.ones((methods, methods), dtype=bool), 1)[..., None]
    return np.where(upper, wins, np.where(upper.swapaxes(0, 1), played - wins.swapaxes(-3, -2), played / 2)), played


def win_rate(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool) -> np.ndarray:
    """Share of all (other method, task, pair of a seed of each) that a method wins, ties half, (..., M); NaN if it met no other."""
    wins, played = _wins(oriented(table, higher))
    itself = np.eye(wins.shape[-2], dtype=bool)[..., None]
    won, met = (np.where(itself, 0.0, what).sum((-1, -2)) for what in (wins, played))
    with np.errstate(invalid="ignore"):
        return won / met


def normalise(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool) -> np.ndarray:
    """Scores: 0 at the mean of the task's worst method, 1 at that of its best, in the shape of ``table``; absent stays NaN.

    Single seeds may lie outside [0, 1]. On a task whose methods have equal means (or that has one method) every score is 0.5.
    """
    table = oriented(table, higher)
    means = _mean(table)
    absent = np.isnan(means)
    worst = np.where(absent, np.inf, means).min(-2)[..., None, :, None]
    best = np.where(absent, -np.inf, means).max(-2)[..., None, :, None]
    with np.errstate(invalid="ignore"):
        width = best - worst
        flat = ~(width > TINY * np.maximum(np.abs(best), np.abs(worst)))
        scores = (table - worst) / np.where(flat, 1.0, width)
    return np.where(flat & ~np.isnan(table), 0.5, scores)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over the runs of all tasks (Agarwal et al. 2021, Deep RL at the edge of the statistical precipice), (..., M).

    As there, the mean of what is left after dropping floor(n / 4) runs at either end (scipy.stats.trim_mean(runs, 0.25)).
    """
    runs = scores.reshape(*scores.shape[:-2], -1)
    present = (~np.isnan(runs)).sum(-1, keepdims=True)
    size = runs.shape[-1]
    if (present == size).all():
        cut = size // 4
        return np.sort(runs, axis=-1)[..., cut : size - cut].mean(-1)
    ordered, place, cut = np.sort(runs, axis=-1), np.arange(size), present // 4  # NaN sorts last
    return _mean(np.where((place >= cut) & (place < present - cut), ordered, np.nan))


def elo(table: np.ndarray, higher: np.ndarray | Sequence[bool] | bool, draws: float = 1.0) -> np.ndarray:
    """Elo ratings (..., M): Bradley-Terry by maximum likelihood, mean 1000, 400 points = odds of 10 to 1.

    Two methods play one game on each task that they share; its outcome is the win rate over pairs of seeds. ``draws`` drawn games are
    added to every pair that met, so that a method that won everything has a finite rating: one is the correction of Haldane and
    Anscombe, half a win to either side; 0 is plain maximum likelihood. Raises ValueError where the ratings are not determined: methods
    without a task in common, or, with ``draws`` = 0, some that never lost to the others.
    """
    wins, played = _wins(oriented(table, higher))
    rate = np.where(played > 0, wins / np.where(played > 0, played, 1.0), 0.0)
    size = rate.shape[-2]
    met = (played > 0).any(-1)
    won = np.where(np.eye(size, dtype=bool), 0.0, rate.sum(-1) + np.where(met, draws / 2, 0.0))
    if not _connected(won > 0).all():
        raise ValueError("no Elo ratings: some methods share no task with the others, or never lost to them")
    games = won + np.swapaxes(won, -1, -2)
    strength = np.zeros(won.shape[:-1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(strength[..., None, :] - strength[..., :, None]))
        slope = (won - games * chance).sum(-1)
        bend = games * chance * (1 - chance)
        # Ratings are determined up to a constant: the added 1 / size holds their sum at zero.
        curve = np.einsum("...i,ij->...ij", bend.sum(-1), np.eye(size)) - bend + 1 / size
        step = np.clip(np.linalg.solve(curve, slope[..., None])[..., 0], -2, 2)
        strength += step
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return 1000 + 400 / np.log(10) * (strength - strength.mean(-1, keepdims=True))


def _connected(beats: np.ndarray) -> np.ndarray:
    """Whether every method reaches every other along wins, (...,) of ``beats`` (..., M, M): the ratings' likelihood has a maximum."""
    reach = beats | np.eye(beats.shape[-1], dtype=bool)
    for _ in range(int(np.ceil(np.log2(max(beats.shape[-1], 2))))):
        reach = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
    return reach.all((-1, -2))


def studentized(methods: int) -> float:
    """Upper 5 % quantile of the studentized range of ``methods`` means with infinitely many degrees of freedom."""
    from scipy.stats import studentized_range

    return float(studentized_range.isf(0.05, methods, np.inf))


@dataclass(frozen=True)
class Estimate:
    """A statistic's ``value`` on the table, its 95 % interval ``low`` to ``high`` (arrays of its shape) of ``replicates`` resamples.

    Where no method has two seeds on a task, or the statistic is NaN, the interval is NaN.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    replicates: int


def bootstrap(table: np.ndarray, statistics: Mapping[str, Statistic], replicates: int = 10_000, seed: int = 0) -> dict[str, Estimate]:
    """Percentile intervals over ``replicates`` stratified resamples: of the seeds, within each method and task (Agarwal et al. 2021).

    ``table`` (M, T, S), or scores. ``statistics``, by name, map tables (B, M, T, S) to (B, ...), each on its own: ``iqm``, or for
    instance ``lambda values: mean_rank(values, higher)``; all see the same resamples. What is normalised before stays
    normalised by the observed means. The tasks are held fixed: the interval is about other seeds, not about other tasks. It is too
    narrow for few seeds, by a factor of about sqrt((S - 1) / S), as in the paper. Raises ValueError for other shapes.
    """
    table = np.asarray(table, dtype=float)
    if table.ndim != 3 or not table.size:
        raise ValueError(f"a table has the axes (methods, tasks, seeds), none of them empty, not the shape {table.shape}")
    packed = np.take_along_axis(table, np.argsort(np.isnan(table), axis=-1, kind="stable"), axis=-1)
    count = (~np.isnan(table)).sum(-1, keepdims=True)
    found: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for values in _resamples(packed, count, replicates, np.random.default_rng(seed)):
        for name, function in statistics.items():
            found[name].append(function(values))
    estimates = {}
    for name, function in statistics.items():
        value = function(table[None])[0]
        low, high = np.full((2, *np.shape(value)), np.nan)
        if (count > 1).any():
            low, high = np.quantile(np.concatenate(found[name]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        estimates[name] = Estimate(value, low, high, replicates)
    return estimates


def _resamples(packed: np.ndarray, count: np.ndarray, replicates: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks (B, M, T, S) of resamples of ``packed`` (M, T, S), whose first ``count`` (M, T, 1) seeds are present."""
    methods, tasks, seeds = packed.shape
    start = (np.arange(methods * tasks) * seeds).reshape(methods, tasks, 1)
    absent = np.arange(seeds) >= count
    itself = start + np.arange(seeds)
    ragged = bool(absent.any())
    block = max(1, CHUNK // packed.size)
    for first in range(0, replicates, block):
        uniform = rng.random((min(block, replicates - first), *packed.shape), dtype=np.float32)
        uniform *= count.astype(np.float32)
        chosen = start + np.minimum(uniform.astype(np.int32), count - 1 + (count == 0))
        yield packed.ravel().take(np.where(absent, itself, chosen) if ragged else chosen)
