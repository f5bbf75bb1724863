"""Intervals, comparisons of two methods and seeds needed, against SciPy, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from elboard.results.stats import Cell, Comparison, compare, holm, needed, summarise, summarise_many
from elboard.results.stats.groups import power_of
from elboard.results.stats.intervals import RESAMPLES, arms, deviations, weights


def by_seed(values: object, first: int = 0) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=float).tolist(), start=first))


# Intervals


def test_one_value_has_no_interval() -> None:
    assert summarise([3.0]) == Cell(3.0, 1, None, None, None, 3.0, 3.0, "none")


@pytest.mark.parametrize(("values", "message"), [([], "no values"), ([1.0, math.nan], "finite, not nan"), ([[1.0]], "2 dimensions")])
def test_what_cannot_be_summarised(values: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(values)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=5).filter(lambda v: np.std(v) > 1e-3))
def test_few_values_have_students_interval(values: list[float]) -> None:
    cell = summarise(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=1e-6) and cell.kind == "t"
    assert (cell.mean, cell.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=1e-9)
    assert (cell.n, cell.minimum, cell.maximum) == (len(values), min(values), max(values))


@pytest.mark.parametrize("n", [6, 25])
def test_many_values_have_scipys_bootstrap_stretched_to_student(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    cell = summarise(values)
    found = stats.bootstrap((values,), np.mean, n_resamples=200_000, method="percentile", rng=np.random.default_rng(1), batch=20_000)
    stretch = stats.t.isf(0.025, n - 1) / stats.norm.isf(0.025) * math.sqrt(n / (n - 1))
    low, high = (values.mean() + stretch * (end - values.mean()) for end in found.confidence_interval)
    assert cell.kind == "bootstrap" and (cell.low, cell.high) == pytest.approx((low, high), abs=0.04 * (high - low))
    assert cell.high - cell.mean > cell.mean - cell.low, "the arm is longer on the side of the tail"


def test_many_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    many = [rng.normal(size=n) for n in (1, 7, 3, 7, 12, 1, 7, 3)]
    for cell, values in zip(summarise_many(many), many, strict=True):
        alone = summarise(values)
        assert (cell.n, cell.kind, cell.minimum, cell.maximum) == (alone.n, alone.kind, alone.minimum, alone.maximum)
        for name in ("mean", "sd", "low", "high"):
            one, other = getattr(cell, name), getattr(alone, name)
            assert one == other is None or one == pytest.approx(other, rel=1e-12)
    assert summarise_many([]) == []


@given(st.lists(st.integers(0, 5).map(float), min_size=6, max_size=12), st.randoms(use_true_random=False))
def test_order_shift_and_sign(values: list[float], random: object) -> None:
    cell = summarise(values)
    shuffled = random.sample(values, len(values))
    assert summarise(shuffled) == cell
    mirrored, moved = summarise([-v for v in values]), summarise([2 * v + 8 for v in values])
    assert (moved.low, moved.high) == pytest.approx((2 * cell.low + 8, 2 * cell.high + 8), abs=1e-9)
    assert mirrored.high - mirrored.low == pytest.approx(cell.high - cell.low, rel=0.25, abs=2e-9), (
        "resamples differ, the interval's width hardly"
    )
    assert cell.low <= cell.mean <= cell.high and (cell.low < cell.high) == (len(set(values)) > 1)


@pytest.mark.parametrize("n", [2, 5, 6, 11])
def test_equal_values_have_an_interval_of_no_width(n: int) -> None:
    cell = summarise([0.1] * n)
    assert (cell.mean, cell.low, cell.high, cell.sd) == (0.1, 0.1, 0.1, 0.0)


def test_resamples_are_multinomial() -> None:
    counts = weights(8)
    assert counts.shape == (RESAMPLES, 8) and (counts.sum(1) == 8).all()
    assert counts.mean(0) == pytest.approx(1, abs=0.04) and counts.var(0) == pytest.approx(7 / 8, abs=0.06)
    assert np.corrcoef(counts.T)[0, 1:] == pytest.approx(-1 / 7, abs=0.04)
    assert not np.array_equal(weights(8, 1), counts) and not counts.flags.writeable


@pytest.mark.parametrize("n", [3, 5, 6, 10, 20])
def test_coverage_on_normal_data(n: int) -> None:
    """4,000 samples: the standard error of the share is 0.34 %; 94-96 % is the requirement, and the seed is fixed."""
    cells = summarise_many(list(np.random.default_rng(n).normal(size=(4000, n))))
    assert 0.94 <= np.mean([cell.low <= 0 <= cell.high for cell in cells]) <= 0.96


# Comparisons


@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_t_is_scipys(n: int) -> None:
    x, y = np.random.default_rng(n).normal(size=(2, n))
    found, want = compare(by_seed(x), by_seed(y)), stats.ttest_rel(x, y)
    assert (found.p, found.effect, found.n, found.paired, found.test) == (
        pytest.approx(want.pvalue, rel=1e-9), pytest.approx(x.mean() - y.mean()), n, True, "paired t")  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(want.confidence_interval(0.95)))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 5), (5, 9)])
def test_welch_t_is_scipys(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), 3 * rng.normal(size=m)
    found, want = compare(by_seed(x), by_seed(y, 100)), stats.ttest_ind(x, y, equal_var=False)
    assert (found.p, found.n, found.paired, found.test) == (pytest.approx(want.pvalue, rel=1e-9), n, False, "Welch t")
    assert (found.low, found.high) == pytest.approx(tuple(want.confidence_interval(0.95)))


@pytest.mark.parametrize("first", [0, 100])
def test_the_bootstrap_is_near_students_on_many_normal_values(first: int) -> None:
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.4, 3.0):
        x, y = rng.normal(size=40) + shift, rng.normal(size=40)
        found = compare(by_seed(x), by_seed(y, first))
        want = stats.ttest_ind(x, y, equal_var=False) if first else stats.ttest_rel(x, y)
        assert found.test == ("bootstrap" if first else "paired bootstrap")
        assert math.log(found.p) == pytest.approx(math.log(want.pvalue), rel=0.15, abs=0.1)
        assert (found.low, found.high) == pytest.approx(tuple(want.confidence_interval(0.95)), abs=0.05)


def test_when_values_pair() -> None:
    full = by_seed(np.random.default_rng(0).normal(size=6))
    part = {seed: full[seed] + 1 + 0.01 * seed for seed in (1, 3, 4)}
    found = compare(full, part)
    assert found.paired and found.n == 3 and found.effect == pytest.approx(-1 - 0.01 * 8 / 3), "over the common seeds alone"
    assert not compare(full, {**part, 77: 0.0}).paired, "a seed of the smaller side has no partner"
    assert not compare({0: 1.0, 1: 2.0, 2: 3.0}, {2: 1.0, 3: 2.0, 4: 3.0}).paired, "one common seed"


def test_one_seed_is_undecided() -> None:
    assert compare({0: 1.0, 1: 2.0}, {0: 5.0}) == Comparison(-3.5, None, None, 1, None, False, "undecided (n=1)")
    for a, b in (({}, {0: 1.0}), ({0: 1.0}, {0: math.inf})):
        with pytest.raises(ValueError, match="nothing to compare|finite"):
            compare(a, b)


@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize("first", [0, 50])
def test_values_that_do_not_vary_are_exact(n: int, first: int) -> None:
    same, other = by_seed([0.1] * n), by_seed([0.3] * n, first)
    assert compare(same, by_seed([0.1] * n, first)) == Comparison(0.0, 0.0, 0.0, n, 1.0, not first, "exact")
    found = compare(same, other)
    assert found.p == 0.0 and (found.low, found.high) == pytest.approx((-0.2, -0.2)) and found.test == "exact"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({0: 0.90, 1: 0.91}, {0: 0.89, 1: 0.90}),  # in binary the two differences are not equal
        ({0: 1.0, 1: 2.0, 2: 4.0}, {0: 1.0, 1: 2.0, 2: 4.0}),
        ({0: 0.9, 1: 0.9}, {0: 0.8, 1: 0.8}),  # a share of few examples is often the same twice
        ({0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}, {7: 0.8, 8: 0.8, 9: 0.8, 10: 0.8}),
        (
            {seed: float(np.float32(0.7 + seed / 100)) for seed in range(7)},
            {seed: float(np.float32(0.6 + seed / 100)) for seed in range(7)},
        ),
    ],
)
def test_equal_differences_of_few_seeds_or_of_values_that_vary_decide_nothing(a: dict[int, float], b: dict[int, float]) -> None:
    found = compare(a, b)
    assert (found.p, found.low, found.high, found.test) == (None, None, None, "undecided (no spread)")
    assert found.effect == pytest.approx(a[0] - next(iter(b.values())), rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=9), st.sampled_from([0, 50]))
def test_sides_order_and_intervals_agree(pairs: list[tuple[int, int]], first: int) -> None:
    x, y = by_seed([pair[0] for pair in pairs]), by_seed([pair[1] for pair in pairs], first)
    there, back = compare(x, y), compare(y, x)
    assert compare(dict(reversed(x.items())), y) == there
    assert back.effect == pytest.approx(-there.effect) and back.test == there.test
    if there.p is None:
        assert back.p is None and there.test == "undecided (no spread)"
        return
    assert back.p == pytest.approx(there.p, rel=1e-9)
    assert (back.low, back.high) == (pytest.approx(-there.high, abs=1e-9), pytest.approx(-there.low, abs=1e-9))
    assert there.low <= there.effect <= there.high
    if abs(there.p - 0.05) > 1e-9:
        assert (there.p < 0.05) == (not there.low <= 0 <= there.high)


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("first", [0, 100])
def test_false_alarms(n: int, first: int) -> None:
    """1,200 comparisons of equal methods: the standard error of the share below 0.05 is 0.6 %, and the seed is fixed."""
    values = np.random.default_rng(n).normal(size=(1200, 2, n))
    alarms = np.mean([compare(by_seed(x), by_seed(y, first)).p < 0.05 for x, y in values])
    assert 0.035 <= alarms <= 0.065


def test_resampled_arms_never_vanish() -> None:
    """All but one value equal is the emptiest sample: its arms are still finite and positive on both sides."""
    for n in (6, 30, 100):
        below, above = arms(deviations(np.eye(n)[:1]))
        assert 0.5 / n < below[0] < above[0] < 4 / n


# Holm


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_by_hand(p: list[float]) -> None:
    """Reject in order while p_(k) <= alpha / (m - k + 1); the adjusted p is the smallest alpha that rejects."""
    finite = sorted(value for value in p if not math.isnan(value))
    for value, adjusted in zip(p, holm(np.array(p)), strict=True):
        if math.isnan(value):
            assert math.isnan(adjusted)
            continue
        want = max(min(1.0, (len(finite) - k) * other) for k, other in enumerate(finite) if other <= value)
        assert adjusted == pytest.approx(want)


# Seeds needed


@pytest.mark.parametrize(("ratio", "sides", "n"), [(0.5, 1, 34), (0.5, 2, 64), (0.8, 2, 26), (0.2, 1, 199)])
def test_power_is_cohens_and_the_noncentral_t(ratio: float, sides: int, n: int) -> None:
    """Sample sizes for 80 % at 0.05 from Cohen's tables (1988) and G*Power."""
    assert power_of(n, ratio, sides) >= 0.8 > power_of(n - 1, ratio, sides)
    df, shift = sides * (n - 1), ratio * math.sqrt(n / sides)
    border = stats.t.isf(0.025, df)
    assert power_of(n, ratio, sides) == pytest.approx(stats.nct.sf(border, df, shift) + stats.nct.cdf(-border, df, shift), abs=1e-9)


@pytest.mark.parametrize(("n", "ratio", "sides"), [(3, 10, 2), (10, 10, 1), (3, 40, 1), (1000, 1, 2), (10, 1000, 2)])
def test_power_of_what_is_far_apart(n: int, ratio: float, sides: int) -> None:
    assert power_of(n, ratio, sides) == pytest.approx(1, abs=1e-6)


def test_needed_by_hand() -> None:
    x = by_seed([0.0, 1.0, 2.0])
    paired = needed({0: 0.5, 1: 1.9, 2: 2.1}, x)  # differences 0.5, 0.9, 0.1: mean 0.5, sd 0.4
    assert paired.total == paired.extra_seeds + 3 and power_of(paired.total, 1.25, 1) >= 0.8 > power_of(paired.total - 1, 1.25, 1)
    apart = needed(by_seed([0.5, 1.5, 2.5], 9), x)  # effect 0.5, both sd 1
    assert (apart.total, apart.extra_seeds, apart.reason) == (64, 61, "")
    assert needed(by_seed([10.0, 11.0, 12.0], 9), x).extra_seeds == 0
    assert power_of(105, 0.5, 2) >= 0.95 > power_of(104, 0.5, 2), "G*Power"


def test_needed_says_why_not() -> None:
    x = by_seed([0.0, 1.0, 2.0])
    cases = [({0: 1.0}, "at least 2"), (by_seed([2.0, 1.0, 0.0]), "means are equal"),
             (by_seed([1.0, 2.0, 3.0]), "equal differences say nothing"), (by_seed([1.0, 2.0, 1e-4]), "more than 100,000")]  # fmt: skip
    for other, reason in cases:
        found = needed(other, x)
        assert (found.extra_seeds, found.total) == (None, None) and reason in found.reason
    assert "do not vary" in needed(by_seed([0.9] * 5), by_seed([0.8] * 5)).reason
