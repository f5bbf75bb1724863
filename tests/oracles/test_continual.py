"""Metrics of task sequences against plain loops; the replica equations against integrals by other quadrature, and in their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfc

from elboard.bench.metrics.continual import sequence_metrics
from elboard.bench.metrics.perceptron import M, Z, conjugates, divergence, energetic, error_of, first_task, second_task, sites


def test_metrics_are_those_of_plain_loops() -> None:
    a = np.random.default_rng(0).random((4, 4))
    t, found = 4, sequence_metrics(a)
    forgetting = sum(max(a[i, j] for i in range(t - 1)) - a[t - 1, j] for j in range(t - 1)) / (t - 1)
    backward = sum(a[t - 1, j] - a[j, j] for j in range(t - 1)) / (t - 1)
    assert found["forgetting"] == pytest.approx(forgetting, abs=1e-12)
    assert found["backward_transfer"] == pytest.approx(backward, abs=1e-12)
    assert found["average_accuracy"] == pytest.approx(sum(a[t - 1]) / t, abs=1e-12)
    assert found["learned_accuracy"] == pytest.approx(sum(a[i, i] for i in range(t)) / t, abs=1e-12)
    assert found["task_accuracy/after2-on1"] == a[2, 1]


def test_metrics_of_an_interrupted_sequence() -> None:
    found = sequence_metrics(np.array([[0.9, 0.1, 0.3]]))
    assert (found["forgetting"], found["backward_transfer"], found["learned_accuracy"]) == (0, 0, 0.9)
    assert found["average_accuracy"] == pytest.approx(1.3 / 3)
    found = sequence_metrics(np.array([[0.9, 0.1, 0.3], [0.5, 0.8, 0.3]]))
    assert found["forgetting"] == pytest.approx(0.4) and found["backward_transfer"] == pytest.approx(-0.4)


def normal(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_the_energetic_part_is_the_integral() -> None:
    """G_E as the paper writes it, by adaptive quadrature."""
    q, s, r, b = 0.4, 0.6, 0.3, 5.0

    def h(x: float) -> float:
        return erfc(x / math.sqrt(2)) / 2

    def inner(z: float) -> float:
        return quad(lambda x: normal(x) * h((math.sqrt(s - q) * x + math.sqrt(q) * z) / math.sqrt(1 - s)) ** b, -9, 9)[0]

    expected = 2 * quad(lambda z: normal(z) * h(z * r / math.sqrt(q - r * r)) * math.log(inner(z)), -8, 8)[0]
    assert energetic(q, s, r, b) == pytest.approx(expected, rel=1e-7)


def test_the_fixed_point_solves_the_equations() -> None:
    """q = E <m>^2, s = E <m^2>, r = E <m> by adaptive quadrature at the conjugates of the fixed point."""
    student = first_task(0.5)
    q_, s_, r_ = conjugates(student.q, student.s, student.r, 20.0, 0.5)

    def site(z: float, k: int) -> float:
        def weight(m: float) -> float:
            return math.exp((s_ - q_ / 2) * m * m + math.sqrt(q_) * z * m + r_ * m)

        return quad(lambda m: m**k * weight(m), -1, 1)[0] / quad(weight, -1, 1)[0]

    found = [
        quad(lambda z, of=of: normal(z) * of(z), -8, 8)[0] for of in (lambda z: site(z, 1) ** 2, lambda z: site(z, 2), lambda z: site(z, 1))
    ]
    assert found == pytest.approx([student.q, student.s, student.r], abs=2e-4)


def test_without_patterns_a_student_knows_nothing() -> None:
    student = first_task(1e-6)
    assert student.error == pytest.approx(0.5, abs=1e-3) and student.s == pytest.approx(1 / 3, abs=1e-3)
    assert error_of(1.0) == 0 and error_of(0.0) == 0.5 and error_of(-1.0) == 1


def test_more_patterns_teach_more() -> None:
    errors = [first_task(load).error for load in (0.2, 0.5, 1.0)]
    assert 0.5 > errors[0] > errors[1] > errors[2] > 0.1


def test_without_new_patterns_the_first_teacher_is_kept() -> None:
    """With a strong prior the second student is the first one, at any overlap."""
    first = first_task(0.5)
    for overlap in (-0.5, 0.5):
        before, other = second_task(first, 1e-6, overlap)
        assert before == pytest.approx(first.error, abs=0.02)
        assert other == pytest.approx(float(error_of(overlap * math.cos(math.pi * first.error))), abs=0.03)


def test_without_the_prior_the_second_teacher_is_another_first() -> None:
    first = first_task(0.5)
    for overlap in (0.0, 0.5):
        before, second = second_task(first, 0.5, overlap, kl=0.0)
        assert second == pytest.approx(first.error, abs=1e-3)
        assert before == pytest.approx(float(error_of(overlap * math.cos(math.pi * first.error))), abs=1e-3)


def test_teachers_that_are_one_are_learned_further() -> None:
    first = first_task(0.5)
    before, second = second_task(first, 0.5, 1.0)
    assert before == pytest.approx(second, abs=1e-9) and second < first.error
    opposed, against = second_task(first, 0.5, -1.0)
    assert opposed == pytest.approx(1 - against, abs=1e-9)


def test_forgetting_falls_with_the_overlap_and_grows_with_patterns() -> None:
    first = first_task(0.5)
    by_overlap = [second_task(first, 0.5, overlap)[0] for overlap in (-0.5, 0.0, 0.5)]
    assert by_overlap[0] > by_overlap[1] > by_overlap[2]
    less, more = (second_task(first, load, -0.5) for load in (0.2, 0.8))
    assert less[0] < more[0] and less[1] > more[1]


def test_the_divergence_is_that_of_two_coins() -> None:
    m, of = 0.3, -0.6
    expected = 0.65 * math.log(0.65 / 0.2) + 0.35 * math.log(0.35 / 0.8)
    assert divergence(np.array([m]), np.array([of])) == pytest.approx(expected, rel=1e-12)
    assert divergence(M, M) == pytest.approx(0, abs=1e-12)


def test_laws_of_weights_are_those_of_the_integral() -> None:
    """Mean and second moment of m with the weight exp((s^ - q^/2) m^2 + sqrt(q^) z m + r^ m), at each z."""
    q_, s_, r_ = 3.0, 2.0, 1.0
    law = sites(q_, s_, r_, np.zeros((1, len(M))))[0]
    for k in (0, 60, 130):
        total, first, second = (
            quad(lambda m, j=j, z=Z[k]: m**j * math.exp((s_ - q_ / 2) * m * m + math.sqrt(q_) * z * m + r_ * m), -1, 1)[0] for j in range(3)
        )
        assert law[k] @ M == pytest.approx(first / total, rel=1e-8) and law[k] @ M**2 == pytest.approx(second / total, rel=1e-8)
