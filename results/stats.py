"""Mean and 95 % interval of a metric over repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Mean of ``n`` values and the half-width of its 95 % Student interval; None where n < 2."""

    mean: float
    n: int
    half: float | None


def summarise(values: Sequence[float]) -> Cell:
    """Mean and 95 % interval ``mean +- t(0.975, n - 1) s / sqrt(n)``, s with n - 1 in its denominator. Raises ValueError if empty."""
    n = len(values)
    if n == 0:
        raise ValueError("no values to summarise")
    mean = math.fsum(values) / n
    if n < 2:
        return Cell(mean, n, None)
    from scipy.special import stdtrit

    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Cell(mean, n, float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n))
