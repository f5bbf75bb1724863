"""Trigram frequencies against counting by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from elboard.bench.metrics.text import WEIGHTS, trigram_bits, trigram_tables

X = np.random.default_rng(0).integers(0, 3, (30, 7))  # of 4 letters, of which one does not occur


def test_bits_are_those_of_counting() -> None:
    text = ["".join(map(str, row)) for row in X]
    counts = [Counter(row[i : i + n] for row in text for i in range(7 - n + 1)) for n in (1, 2, 3)]
    other = np.array([[0, 1, 3, 2, 2], [3, 3, 0, 0, 1]])
    for row, found in zip(other, trigram_bits(trigram_tables(X, 4), other), strict=True):
        total = 0.0
        for i in range(2, 5):
            a, b, c = map(str, row[i - 2 : i + 1])
            single = counts[0][c] / 210
            of_b, of_ab = (sum(counts[n][before + v] for v in "0123") for n, before in ((1, b), (2, a + b)))
            pair = counts[1][b + c] / of_b if of_b else single
            triple = counts[2][a + b + c] / of_ab if of_ab else pair
            total -= math.log2(WEIGHTS[0] / 4 + WEIGHTS[1] * single + WEIGHTS[2] * pair + WEIGHTS[3] * triple)
        assert found == pytest.approx(total / 3, abs=1e-12)


def test_frequencies_are_a_law() -> None:
    tables = trigram_tables(X, 4)
    for before in ((0, 1), (3, 0), (3, 3)):
        rows = np.array([[*before, c] for c in range(4)])
        assert (2 ** -trigram_bits(tables, rows)).sum() == pytest.approx(1, abs=1e-12)
