"""Summaries over tasks against SciPy and against loops over single values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from elboard.results.stats import bootstrap, elo, iqm, mean_rank, normalise, studentized, task_ranks, win_rate

HIGHER = np.array([True, False, True])


def table_of(seed: int, absent: float = 0.0, methods: int = 5, seeds: int = 4) -> np.ndarray:
    """Coarse values (ties occur) of ``methods`` x 3 tasks; a share is absent, and with it method 1 on all of task 2."""
    rng = np.random.default_rng(seed)
    table = np.round(rng.normal(size=(methods, 3, seeds)) + np.arange(methods)[:, None, None] / 4, 1)
    if absent:
        table[rng.random(table.shape) < absent] = math.nan
        table[1, 2] = math.nan
    return table


def present(table: np.ndarray, method: int, task: int) -> list[float]:
    """Values of one method on one task, higher = better."""
    return [value if HIGHER[task] else -value for value in table[method, task] if not math.isnan(value)]


tables = pytest.mark.parametrize("table", [table_of(0), table_of(1, 0.25), table_of(2, 0.25, seeds=1)], ids=["full", "ragged", "one seed"])


@tables
def test_mean_rank_is_scipys(table: np.ndarray) -> None:
    by_task: list[dict[int, float]] = []
    for task in range(3):
        means = {m: np.mean(present(table, m, task)) for m in range(5) if present(table, m, task)}
        by_task.append(dict(zip(means, stats.rankdata([-value for value in means.values()]), strict=True)))
    want = [np.mean([ranks[m] for ranks in by_task if m in ranks]) if any(m in r for r in by_task) else math.nan for m in range(5)]
    np.testing.assert_allclose(mean_rank(table, HIGHER), want)
    assert np.isnan(task_ranks(table, HIGHER)).sum() == sum(m not in ranks for ranks in by_task for m in range(5))


def test_ties_share_a_rank() -> None:
    table = np.array([[[1.0]], [[2.0]], [[2.0]], [[3.0]]])
    assert task_ranks(table, True)[:, 0].tolist() == [4, 2.5, 2.5, 1] and task_ranks(table, False)[:, 0].tolist() == [1, 2.5, 2.5, 4]


@tables
def test_win_rate_counts_triples(table: np.ndarray) -> None:
    for method, rate in enumerate(win_rate(table, HIGHER)):
        results = [
            (mine > theirs) + 0.5 * (mine == theirs)
            for other, task in itertools.product(range(5), range(3))
            if other != method
            for mine, theirs in itertools.product(present(table, method, task), present(table, other, task))
        ]
        assert rate == pytest.approx(np.mean(results) if results else math.nan, nan_ok=True)


def test_win_rates_of_many_seeds() -> None:
    """More than the 127 seeds whose double count fits a byte."""
    table = np.stack([np.ones((1, 130)), np.zeros((1, 130)), np.ones((1, 130))])
    assert win_rate(table, True).tolist() == [0.75, 0.0, 0.75]
    assert np.isnan(win_rate(table[:1], True)).all(), "no other method"


@tables
def test_normalise(table: np.ndarray) -> None:
    scores = normalise(table, HIGHER)
    assert np.array_equal(np.isnan(scores), np.isnan(table))
    for task in range(3):
        means = {m: np.mean(present(table, m, task)) for m in range(5) if present(table, m, task)}
        worst, best = min(means.values()), max(means.values())
        for m in means:
            want = [(value - worst) / (best - worst) for value in present(table, m, task)]
            assert scores[m, task][~np.isnan(scores[m, task])] == pytest.approx(want)


def test_normalise_where_all_are_equal() -> None:
    table = np.array([[[0.1, 0.1], [3.0, math.nan], [math.nan] * 2], [[0.1, 0.1], [math.nan] * 2, [math.nan] * 2]])
    scores = normalise(table, [True, False, True])
    np.testing.assert_array_equal(scores, np.where(np.isnan(table), math.nan, 0.5))


@tables
def test_iqm_is_the_trimmed_mean_of_scipy(table: np.ndarray) -> None:
    scores = normalise(table, HIGHER)
    want = [stats.trim_mean(row[~np.isnan(row)], 0.25) if not np.isnan(row).all() else math.nan for row in scores.reshape(5, -1)]
    np.testing.assert_allclose(iqm(scores), want)
    np.testing.assert_allclose(iqm(np.stack([scores, scores[::-1]])), [want, want[::-1]])


@tables
@pytest.mark.parametrize("draws", [1.0, 0.2])
def test_elo_is_the_maximum_of_the_likelihood(table: np.ndarray, draws: float) -> None:
    games: list[tuple[int, int, float]] = []
    for i, j in itertools.permutations(range(5), 2):
        pairs = [(present(table, i, task), present(table, j, task)) for task in range(3)]
        rates = [stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in pairs if a and b]
        games.append((i, j, sum(rates) + draws / 2 * bool(rates)))

    def loss(strength: np.ndarray) -> float:
        return sum(won * math.log1p(math.exp(strength[j] - strength[i])) for i, j, won in games) + strength.sum() ** 2

    best = optimize.minimize(loss, np.zeros(5), tol=1e-12).x
    found = elo(table, HIGHER, draws)
    np.testing.assert_allclose(found, 1000 + 400 / math.log(10) * (best - best.mean()), atol=0.05)
    assert found.mean() == pytest.approx(1000)


def test_elo_by_hand() -> None:
    """Three wins of four: odds of 3 to 1 are 400 log10(3) points."""
    table = np.array([[[1.0, 1.0, 1.0, 0.0]], [[0.5] * 4]])
    assert elo(table, True, draws=0) == pytest.approx([1000 + 200 * math.log10(3), 1000 - 200 * math.log10(3)])
    assert elo(table[..., :3], True) == pytest.approx([1000 + 200 * math.log10(3), 1000 - 200 * math.log10(3)]), "1.5 of 2 games"
    with pytest.raises(ValueError, match="never lost"):
        elo(table[..., :3], True, draws=0)
    apart = np.array([[[1.0], [math.nan]], [[math.nan], [2.0]]])
    with pytest.raises(ValueError, match="share no task"):
        elo(apart, True)


def test_the_studentized_range_is_demsars() -> None:
    found = [studentized(methods) / math.sqrt(2) for methods in (2, 3, 5, 10)]
    assert found == pytest.approx([1.960, 2.343, 2.728, 3.164], abs=1e-3), "Demsar (2006), table 5"


STATISTICS = {
    "mean_rank": lambda values: mean_rank(values, HIGHER),
    "win_rate": lambda values: win_rate(values, HIGHER),
    "elo": lambda values: elo(values, HIGHER),
    "normalise": lambda values: normalise(values, HIGHER).reshape(*values.shape[:-3], -1),
    "iqm": iqm,
}


@tables
@pytest.mark.parametrize("name", STATISTICS)
def test_resamples_at_once_are_resamples_one_by_one(table: np.ndarray, name: str) -> None:
    batch = np.stack([table, table[::-1], np.roll(table, 1, axis=0)])
    many = STATISTICS[name](batch)
    for one, values in zip(many, batch, strict=True):
        np.testing.assert_allclose(one, STATISTICS[name](values), rtol=1e-9)


@pytest.mark.parametrize("name", ["mean_rank", "win_rate", "elo"])
@given(seed=st.integers(0, 50), scale=st.sampled_from([0.5, 3.0]))
def test_order_and_monotone_maps_change_nothing(name: str, seed: int, scale: float) -> None:
    table = table_of(seed, 0.2, seeds=1)
    order = np.random.default_rng(seed).permutation(5)
    assume(np.isfinite(win_rate(table, HIGHER)).all())  # Elo ratings need every method to meet another
    want = STATISTICS[name](table)
    np.testing.assert_allclose(STATISTICS[name](table[order]), want[order], rtol=1e-9)
    np.testing.assert_allclose(STATISTICS[name](np.exp(scale * table)), want, rtol=1e-9)
    np.testing.assert_allclose(STATISTICS[name](table[:, :, ::-1]), want, rtol=1e-9)


def test_higher_is_checked() -> None:
    with pytest.raises(ValueError, match="the table has 3 tasks"):
        mean_rank(table_of(0), [True, False])
    with pytest.raises(ValueError, match="methods, tasks, seeds"):
        bootstrap(np.ones((2, 3)), {"iqm": iqm})


def test_bootstrap_is_scipys_within_a_stratum() -> None:
    values = np.random.default_rng(0).exponential(size=(1, 1, 12))
    found = bootstrap(values, {"mean": lambda resamples: resamples.mean((-1, -2))})["mean"]
    want = stats.bootstrap((values.ravel(),), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(1))
    assert found.value == pytest.approx(values.mean()) and found.replicates == 10_000
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(want.confidence_interval), abs=0.03)


def test_bootstrap_is_stratified_and_leaves_the_absent_absent() -> None:
    table = table_of(3, 0.3)
    seen: list[np.ndarray] = []
    bootstrap(table, {"": lambda values: seen.append(values) or values[:, 0, 0, 0]}, replicates=300)
    resamples = np.concatenate(seen[:-1])  # the last is the table itself
    assert resamples.shape == (300, 5, 3, 4)
    for m, task in itertools.product(range(5), range(3)):
        values = resamples[:, m, task]
        here = table[m, task][~np.isnan(table[m, task])]
        assert (np.isfinite(values).sum(1) == len(here)).all() and set(values[np.isfinite(values)]) == set(here)


def test_bootstrap_repeats_and_shares_its_resamples() -> None:
    table = table_of(4)
    both = bootstrap(table, {"rank": STATISTICS["mean_rank"], "wins": STATISTICS["win_rate"]}, replicates=500)
    wins = {"wins": STATISTICS["win_rate"]}
    alone = bootstrap(table, wins, replicates=500)["wins"]
    assert np.array_equal(both["wins"].low, alone.low) and np.array_equal(both["wins"].high, alone.high)
    assert not np.array_equal(bootstrap(table, wins, 500, seed=1)["wins"].low, alone.low)
    assert (alone.low <= alone.value).all() and (alone.value <= alone.high).all()
    assert both["rank"].value == pytest.approx(mean_rank(table, HIGHER))


def test_one_seed_gives_no_interval() -> None:
    rank = {"rank": STATISTICS["mean_rank"]}
    single = bootstrap(table_of(0, seeds=1), rank, replicates=50)["rank"]
    assert np.isnan(single.low).all() and np.isnan(single.high).all()
    assert np.isfinite(single.value).all()
    table = table_of(0)
    table[2, 1, 1:] = math.nan
    mixed = bootstrap(table, rank, replicates=50)["rank"]
    assert np.isfinite(mixed.low).all()


def test_coverage_of_the_interval() -> None:
    """The mean score of 3 tasks x 10 seeds in 300 experiments; sqrt(9 / 10) of the width is 93.7 %, less what percentiles lose."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        found = bootstrap(rng.normal(size=(1, 3, 10)), {"": lambda values: values.mean((-1, -2))}, replicates=1000)[""]
        covered.append(found.low[0] <= 0 <= found.high[0])
    assert 0.90 <= np.mean(covered) <= 0.96
