"""The membership attack where its verdicts can be worked out by hand, accuracies and gaps against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from elboard.bench.metrics.unlearning import confusion, gaps, membership, values

RNG = np.random.default_rng(27)


def vectors(first: np.ndarray) -> np.ndarray:
    """Probabilities ``(N, 3)`` of which one is ``first`` (N,), at a random place."""
    rest = (1 - first) / 2
    rows = np.stack([first, rest, rest], axis=1)
    return RNG.permuted(rows, axis=1)


def test_separable_vectors_are_told_apart() -> None:
    """Of fewer vectors than a histogram has bins, with a gap between the sides."""
    sure, unsure = vectors(RNG.uniform(0.9, 1.0, 120)), vectors(RNG.uniform(0.4, 0.8, 80))
    for members, others, yes in ((sure, unsure, sure), (unsure, sure, unsure)):
        assert membership(members, others, yes).mean() == 1
        assert membership(members, others, others).mean() == 0
        assert membership(members, others, yes[:, ::-1]).mean() == 1


def test_vectors_of_one_distribution_are_as_good_as_a_coin() -> None:
    one, other, of = (RNG.dirichlet(np.ones(4), n) for n in (2000, 2000, 3000))
    assert membership(one, other, of).mean() == pytest.approx(0.5, abs=0.06)


def test_of_few_distinct_vectors_the_verdict_is_the_more_frequent_side() -> None:
    """By hand: shares of members and of others in each cell, of weight 1/2 each."""
    cells = np.array([0.95, 0.85, 0.7, 0.55])
    members, others = np.array([40, 30, 20, 10]), np.array([60, 80, 20, 40])  # shares .4 .3 .2 .1 and .3 .4 .1 .2
    found = membership(vectors(cells.repeat(members)), vectors(cells.repeat(others)), vectors(cells.repeat(5)))
    assert found.reshape(4, 5).all(axis=1).tolist() == [True, False, True, False] == found.reshape(4, 5).any(axis=1).tolist()


def test_the_attack_knows_no_classes() -> None:
    members, others, of = (RNG.dirichlet(np.ones(5), n) for n in (200, 200, 100))
    turned = [RNG.permuted(part, axis=1) for part in (members, others, of)]
    assert np.array_equal(membership(members, others, of), membership(*turned))


def test_without_a_side_nothing_is_told() -> None:
    some, none = vectors(np.full(4, 0.9)), np.zeros((0, 3))
    assert membership(none, some, some).tolist() == membership(some, none, some).tolist() == [False] * 4
    assert membership(some, some, none).shape == (0,)


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    y = RNG.integers(0, 4, n)
    return y, np.where(RNG.random(n) < 0.6, y, RNG.integers(0, 4, n))


def test_values_and_gaps_are_those_of_plain_loops() -> None:
    forgotten = np.array([True, False, False, True])
    found, parts = [], []
    for _ in range(2):
        sets = {name: drawn(n) for name, n in (("remaining", 60), ("forget", 20), ("held", 50))}
        attacked = RNG.random(20) < 0.4
        counts = {name: confusion(*pair, 4) for name, pair in sets.items()}
        found.append(values({**counts, "attacked": attacked}, forgotten))
        parts.append((sets, attacked))
    for of, (sets, attacked) in zip(found, parts, strict=True):

        def share(pairs: list[tuple[int, int]]) -> float:
            return sum(y == p for y, p in pairs) / len(pairs)

        held = list(zip(*sets["held"], strict=True))
        assert of["remaining_accuracy/train"] == pytest.approx(share(list(zip(*sets["remaining"], strict=True))))
        assert of["forget_accuracy/train"] == pytest.approx(share(list(zip(*sets["forget"], strict=True))))
        assert of["remaining_accuracy/test"] == pytest.approx(share([pair for pair in held if pair[0] in (1, 2)]))
        assert of["forget_accuracy/test"] == pytest.approx(share([pair for pair in held if pair[0] in (0, 3)]))
        assert of["attack_success"] == pytest.approx(sum(attacked) / 20)
    distance = gaps(*found)
    assert distance["retrain_gap"] == pytest.approx(sum(abs(found[0][name] - found[1][name]) for name in found[0]) / 5)
    assert distance["retrain_gap/attack"] == pytest.approx(abs(found[0]["attack_success"] - found[1]["attack_success"]))
    assert distance["retrain_gap/forget-test"] == pytest.approx(abs(found[0]["forget_accuracy/test"] - found[1]["forget_accuracy/test"]))
    assert gaps(found[0], found[0])["retrain_gap"] == 0


def test_where_no_class_is_forgotten_all_test_images_remain() -> None:
    y, p = drawn(50)
    seen = {
        "remaining": confusion(y, p, 4),
        "forget": confusion(y[:0], p[:0], 4),
        "held": confusion(y, p, 4),
        "attacked": np.zeros(0, bool),
    }
    found = values(seen, np.zeros(4, bool))
    assert found["remaining_accuracy/test"] == pytest.approx((y == p).mean()) and "forget_accuracy/test" not in found
    assert found["forget_accuracy/train"] == found["attack_success"] == 0
