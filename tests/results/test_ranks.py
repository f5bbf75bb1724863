"""Comparisons of a whole board, ranks as ranges and who is on top: by hand, against SciPy, and by simulation."""

from __future__ import annotations

import dataclasses
import itertools
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from elboard.results.stats import Standing, compare, compare_rows, holm, needed, standings
from elboard.results.stats.ranks import Prior, adjust, fit_prior, inverse_trigamma

Rows = list[dict[int, float]]


def by_seed(values: object, first: int = 0) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=float).tolist(), start=first))


def stand(rows: Rows, direction: str = "higher") -> list[Standing]:
    return standings(compare_rows(rows), [np.mean(list(row.values())) for row in rows], direction)


def mixed(seed: int = 0) -> Rows:
    """Rows of other numbers of seeds: that pair, that do not, one of one seed, two that do not vary."""
    rng = np.random.default_rng(seed)
    shapes = [(8, 0), (8, 0), (3, 0), (1, 0), (8, 0), (8, 20), (3, 0), (4, 30)]
    rows = [by_seed(rng.normal(size=n) + place / 4, first) for place, (n, first) in enumerate(shapes)]
    return [*rows, by_seed([0.5] * 3), by_seed([0.5] * 8, 2)]


# The prior


@given(st.floats(1e-9, 1e9))
def test_inverse_trigamma(x: float) -> None:
    assert special.polygamma(1, inverse_trigamma(x)) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize(("d0", "df"), [(3.0, 2), (8.0, 4), (30.0, 9)])
def test_the_prior_is_found_again(d0: float, df: int) -> None:
    rng = np.random.default_rng(int(d0))
    true = 0.2 * d0 / rng.chisquare(d0, 100_000)
    found = fit_prior(true * rng.chisquare(df, 100_000) / df, np.full(100_000, df))
    assert found.df == pytest.approx(d0, rel=0.1) and found.variance == pytest.approx(0.2, rel=0.03)


def test_the_prior_is_smyths_moments() -> None:
    """Section 6.2: trigamma(d0 / 2) = mean((e_g - e)^2 G / (G - 1) - trigamma(d_g / 2)), log s0^2 = e + digamma(d0 / 2) - log(d0 / 2)."""
    variances, df = np.array([0.1, 2.0, 0.7, 9.0, 0.02]), np.array([2.0, 4.0, 2.0, 3.5, 9.0])
    e = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    want = np.mean((e - e.mean()) ** 2 * 5 / 4 - special.polygamma(1, df / 2))
    half = optimize.brentq(lambda y: special.polygamma(1, y) - want, 1e-3, 1e3, xtol=1e-14)
    found = fit_prior(variances, df)
    assert found.df == pytest.approx(2 * half, rel=1e-9)
    assert math.log(found.variance) == pytest.approx(e.mean() + special.digamma(half) - math.log(half), rel=1e-9)


def test_variances_that_differ_by_chance_alone_are_one() -> None:
    assert fit_prior(np.array([1.0, 1.1, 0.9]), np.array([2.0, 2.0, 2.0])) == Prior(math.inf, pytest.approx(1.0))


# Pairs


def test_two_rows_have_no_prior_and_are_compared_as_alone() -> None:
    for first in (0, 50):
        rng = np.random.default_rng(first)
        a, b = by_seed(rng.normal(size=4)), by_seed(2 * rng.normal(size=4) + 1, first)
        board, alone = compare_rows([a, b]).comparison(0, 1), compare(a, b)
        assert board.test == alone.test and board.paired == alone.paired and board.n == alone.n == 4
        assert (board.effect, board.low, board.high, board.p) == pytest.approx((alone.effect, alone.low, alone.high, alone.p))


def test_moderation_by_hand() -> None:
    """Where the pair's own variance is below the board's the two are weighed by their degrees of freedom, else its own is taken, and the
    board's degrees of freedom fade."""
    values = np.random.default_rng(4).normal(size=(5, 3)) * np.array([1, 1, 1, 1, 6])[:, None]
    found, kinds = compare_rows([by_seed(row) for row in values]), set()
    for i, j in itertools.combinations(range(5), 2):
        difference = values[i] - values[j]
        own, shared = difference.var(ddof=1), (found.prior.df * found.prior.variance + 2 * difference.var(ddof=1)) / (found.prior.df + 2)
        df = 2 + min(found.prior.df, 4 / 5 * 5 * 2 - 2) * min(1, shared / own) ** 2
        kinds.add(own > shared)
        t = difference.mean() / math.sqrt(max(own, shared) / 3)
        assert found.p[i, j] == found.p[j, i] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9)
        assert found.effect[i, j] == -found.effect[j, i] == pytest.approx(difference.mean())
        shown = found.comparison(j, i)
        assert shown.test == "moderated paired t" and (shown.p < 0.05) == (not shown.low <= 0 <= shown.high)
    assert kinds == {True, False} and np.isnan(np.diag(found.p)).all()


def test_the_power_of_more_seeds_is_that_of_the_boards_test() -> None:
    rows = mixed()
    pairs = compare_rows(rows)
    sd, lent = pairs.spread(0, 1)
    n, own = int(pairs.n[0, 1]), (1 if pairs.paired[0, 1] else 2) * (int(pairs.n[0, 1]) - 1)
    assert sd / math.sqrt(n) == pytest.approx(pairs.error[0, 1]) and own + lent == pytest.approx(pairs.df[0, 1])
    assert pairs.spread(1, 0) == pytest.approx((sd, lent))
    plain = needed({0: 1.0, 1: 1.4, 2: 0.9}, {0: 0.6, 1: 0.7, 2: 0.7})
    calmer = needed({0: 1.0, 1: 1.4, 2: 0.9}, {0: 0.6, 1: 0.7, 2: 0.7}, (plain_sd := 0.2516611478423583, 20.0))
    assert plain_sd == pytest.approx(np.std([0.4, 0.7, 0.2], ddof=1)) and calmer.total < plain.total
    ratio = (0.4 + 0.7 + 0.2) / 3 / plain_sd
    power = lambda n: stats.nct.sf(stats.t.isf(0.025, n + 19), n + 19, ratio * math.sqrt(n))  # noqa: E731
    assert power(calmer.total) >= 0.8 > power(calmer.total - 1) or calmer.total == 3
    assert compare_rows(rows[:2]).spread(0, 1) is None, "two rows lend each other nothing"
    still = ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 1.0, 2: 2.0})
    assert "equal differences" in needed(*still).reason and needed(*still, (1.0, 5.0)).total > 3, "the board knows a spread"


def test_rows_that_do_not_pair_are_compared_by_welch() -> None:
    rows = mixed()
    found = compare_rows(rows)
    for i, j in itertools.combinations(range(len(rows)), 2):
        alone = compare(rows[i], rows[j])
        assert (found.paired[i, j], found.n[i, j]) == (alone.paired, alone.n) and found.effect[i, j] == pytest.approx(alone.effect)
        assert np.isnan(found.p[i, j]) == (alone.n < 2)
        if alone.n == 1 or alone.test == "exact":
            assert dataclasses.replace(found.comparison(i, j), effect=alone.effect) == alone
    x, y = (np.array(list(rows[i].values())) for i in (5, 7))
    assert found.error[5, 7] >= math.sqrt(x.var(ddof=1) / 8 + y.var(ddof=1) / 4) * (1 - 1e-12), "never below its own"


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = mixed(1)
    order = np.random.default_rng(0).permutation(len(rows))
    first, second = compare_rows(rows), compare_rows([rows[place] for place in order])
    for name in ("effect", "error", "df", "p", "n", "paired"):
        np.testing.assert_allclose(getattr(second, name), getattr(first, name)[np.ix_(order, order)], rtol=1e-9, atol=1e-15)
    assert [stand(rows)[place] for place in order] == stand([rows[place] for place in order])


def test_equal_differences_take_the_boards_variance_or_decide_nothing() -> None:
    pair = [{0: 0.90, 1: 0.91}, {0: 0.89, 1: 0.90}]
    alone = compare_rows(pair)
    assert np.isnan(alone.p).all() and alone.comparison(0, 1) == compare(*pair) and alone.comparison(0, 1).test == "undecided (no spread)"
    assert stand(pair) == [Standing(None, None, "undecided")] * 2
    board = compare_rows([*pair, {0: 0.70, 1: 0.75}, {0: 0.50, 1: 0.53}])
    assert 0.001 < board.p[0, 1] < 1 and board.comparison(0, 1).low < 0.01 < board.comparison(0, 1).high


def test_rows_that_do_not_vary_differ_exactly_and_leave_the_prior_alone() -> None:
    rows = [by_seed([0.5] * 5), by_seed([0.6] * 5, 7), *(by_seed(row) for row in np.random.default_rng(0).normal(size=(3, 3)))]
    found = compare_rows(rows)
    assert found.p[0, 1] == 0 and found.comparison(0, 1).test == "exact" and found.comparison(0, 1).low == pytest.approx(-0.1)
    assert math.isfinite(found.prior.variance) and found.prior.variance > 0.05, "no logarithm of zero, nor of nearly zero"
    assert compare_rows([rows[0], by_seed([0.5] * 6)]).p[0, 1] == 1


def test_few_equal_values_have_the_boards_variance() -> None:
    """Two or three equal values are no rarity where a metric is a share of few examples."""
    rows = [by_seed([0.5] * 3), by_seed([0.6] * 3), *(by_seed(row) for row in np.random.default_rng(0).normal(size=(3, 3)))]
    assert compare_rows(rows).p[0, 1] > 0.5 and np.isnan(compare_rows(rows[:2]).p).all()


@pytest.mark.parametrize("n", [2, 3])
def test_a_coarse_metric_separates_nothing_by_chance(n: int) -> None:
    """Values that are multiples of two standard deviations; 200 boards of ten equal rows."""
    rng, wrong = np.random.default_rng(n), 0
    for _ in range(200):
        values = np.round(rng.normal(size=(10, n)) / 2 + rng.uniform()) * 2
        wrong += any(at.state == "worse" for at in stand([by_seed(row) for row in values]))
    assert wrong <= 0.06 * 200


def test_empty_boards_and_what_cannot_be_compared() -> None:
    assert compare_rows([]).p.shape == (0, 0) and stand([]) == []
    assert stand([by_seed([0.1, 0.2])]) == [Standing(None, None, "undecided")], "nothing to be compared with"
    for row, message in (({}, "nothing to compare"), ({0: math.inf}, "finite")):
        with pytest.raises(ValueError, match=message):
            compare_rows([{0: 1.0}, row])


# Ranks


def test_the_pairs_say_which_row_is_better() -> None:
    a = {0: 0.80, 1: 0.81, 2: 0.82, **dict.fromkeys(range(3, 10), 0.99)}  # the better mean, by seeds that b has not
    b = {0: 0.90, 1: 0.912, 2: 0.921}
    assert stand([a, b]) == [Standing(2, 2, "worse"), Standing(1, 1, "top")]
    assert stand([a, b], "lower") == [Standing(1, 1, "top"), Standing(2, 2, "worse")]


def test_ranks_are_ranges_by_hand() -> None:
    noise = np.random.default_rng(0).normal(size=(4, 5)) / 10
    rows = [by_seed(row + level) for row, level in zip(noise, (9.0, 9.05, 5.0, 1.0), strict=True)]
    rows.append({0: 7.0})
    found = stand(rows)
    said = [(at.low, at.high, at.state) for at in found]
    assert said == [(1, 2, "top"), (1, 2, "top"), (3, 3, "worse"), (4, 4, "worse"), (None, None, "undecided")]
    said = [(at.low, at.high, at.state) for at in stand(rows, "lower")]
    assert said == [(3, 4, "worse"), (3, 4, "worse"), (2, 2, "worse"), (1, 1, "top"), (None, None, "undecided")]
    assert [at.high for at in standings(compare_rows(rows), [9, 9.05, 5, 1, 7], "higher", alpha=0.0)[:4]] == [4] * 4


def noisy(level: float, seeds: int = 3) -> dict[int, float]:
    return by_seed([level - 6.0, level + 5.0, level + 1.0][:seeds])


def solid(count: int = 6) -> Rows:
    """Rows at 10, 9, 8 ... of three seeds that vary by hundredths."""
    return [by_seed(row + 10 - place) for place, row in enumerate(np.random.default_rng(1).normal(size=(count, 3)) / 100)]


def test_a_noisy_row_is_undecided_wherever_its_mean_lies() -> None:
    for level in (12.0, 9.5, 7.0, 4.0):
        found = stand([*solid(), noisy(level)])
        assert found[-1].state == "undecided", level
        assert [at.state for at in found[:6]] == ["top", *["worse"] * 5]
    assert stand([*solid(), noisy(-40.0)])[-1].state == "worse"


def test_a_row_that_diverged_lifts_no_noisy_one() -> None:
    found = stand([*solid(), noisy(7.0), by_seed([-1e4, -1.1e4, -0.9e4])])
    assert found[-1].state == "worse" and found[-2].state == "undecided" and found[0].state == "top"


def test_two_noisy_seeds_near_the_leader_are_not_on_top() -> None:
    """Told from the last row alone, which is far away, and not from the one that the leader is told from too."""
    rows = [by_seed(row) for row in ([2279.4, 2288.8], [2287.5, 2288.1, 2286.3], [2441.6, 2411.0, 2435.0], [3826.1, 3826.1, 3826.2])]
    assert [(at.low, at.high, at.state) for at in stand(rows, "lower")] == [
        (1, 3, "undecided"), (1, 2, "top"), (2, 3, "worse"), (4, 4, "worse")]  # fmt: skip


def test_nothing_separated_is_no_top() -> None:
    rows = [by_seed(row) for row in np.random.default_rng(3).normal(size=(6, 3))]
    assert stand(rows) == [Standing(1, 6, "undecided")] * 6


def test_noise_earns_no_place() -> None:
    """Each row in turn gets some forty times the others' spread about the same mean."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        values = rng.normal(size=(7, 3)) + rng.normal(size=(7, 1)) * 5
        for i in range(7):
            wild = values.copy()
            wild[i] = values[i].mean() + np.array([-40.0, 30.0, 10.0])
            after = stand([by_seed(row) for row in wild])[i]
            assert after.state != "top" and after.high == 7


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("size", [1e60, 1e100, 1e160])
def test_a_row_beyond_all_bounds_leaves_the_others_their_ranks(size: float, first: int) -> None:
    found = stand([*solid(), by_seed([-size, -0.9 * size, -0.5 * size], first)])
    assert [at.state for at in found] == ["top", *["worse"] * 5, "undecided"]


def test_an_effect_of_zero_has_no_sign() -> None:
    found = compare_rows([{0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}])
    assert {math.copysign(1, found.comparison(*places).effect) for places in ((0, 1), (1, 0))} == {1.0}


def test_what_standings_refuse() -> None:
    with pytest.raises(ValueError, match="'up', not 'higher' or 'lower'"):
        standings(compare_rows([{0: 1.0}]), [1.0], "up")
    with pytest.raises(ValueError, match="2 rows need as many means, not 1"):
        standings(compare_rows([{0: 1.0}, {0: 2.0}]), [1.0], "lower")


def test_adjusting_is_holm_over_the_pairs() -> None:
    found = compare_rows(mixed(2)).p
    upper = np.triu_indices(len(found), 1)
    assert np.array_equal(adjust(found)[upper], holm(found[upper]), equal_nan=True)
    assert np.array_equal(adjust(found), adjust(found).T, equal_nan=True)


def test_a_board_of_a_hundred_methods_separates_what_differs() -> None:
    values = np.random.default_rng(1).normal(size=(100, 10)) + 20 * (np.arange(100) < 3)[:, None]
    found = stand([by_seed(row) for row in values])
    assert all(at.state == "top" and at.high <= 3 for at in found[:3]) and all(at.state == "worse" and at.low >= 3 for at in found[3:])


SIMULATION = runpy.run_path(str(Path(__file__).parents[1] / "speed" / "ranks.py"))


@pytest.mark.parametrize(("setting", "found"), [("equal", 0.9), ("log-normal 0.5", 0.6), ("one row x 10", 0.2)])
def test_errors_and_power_of_three_seeds(setting: str, found: float) -> None:
    """400 boards: the standard error of 6 % is 1.2 %. By their own variances alone 18, 18 and 15 % of the worse rows were found."""
    wrong, right = SIMULATION["shares"](setting, 3, 400)
    assert wrong <= 0.06 and right >= found
