"""Patterns in the plane, with their exact densities: rings, spirals, a checkerboard, moons, a Swiss roll, rings and grids of Gaussians.

A pattern is a curve or some points, blurred by a Gaussian of standard deviation ``blur``, or the squares of a checkerboard. Each fits into
[-1.2, 1.2]^2. An *atlas* has several patterns side by side, ``PITCH`` apart, in equal shares; one pattern alone lies at the origin. The
density of a curve is an integral along it, by the midpoint rule with nodes about half the blur apart or less: exact to double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from elboard.bench.errors import UserError, nearest

PITCH = 3.0
NODES = 1200  # of a curve
SEEDS = {"train": 0, "valid": 1, "test": 2}


def _turned(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _rings(u: np.ndarray) -> np.ndarray:
    """Three circles of equal mass."""
    return _turned((1 + np.floor(3 * u)) / 3, 2 * np.pi * (3 * u % 1))


def _spirals(u: np.ndarray) -> np.ndarray:
    """Two arms of one and a half turns."""
    return _turned(0.15 + 0.85 * (2 * u % 1), 3 * np.pi * (2 * u % 1) + np.pi * np.floor(2 * u))


def _moons(u: np.ndarray) -> np.ndarray:
    """Two interleaved half circles, those of scikit-learn's ``make_moons``."""
    angle, lower = np.pi * (2 * u % 1), u >= 0.5
    x, y = np.where(lower, 1 - np.cos(angle), np.cos(angle)), np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([(x - 0.5) / 1.5, (y - 0.25) / 1.5], axis=1)


def _swiss_roll(u: np.ndarray) -> np.ndarray:
    """One arm, uniform in its angle, as scikit-learn's ``make_swiss_roll`` seen along its axis."""
    angle = 1.5 * np.pi * (1 + 2 * u)
    return _turned(angle / (4.5 * np.pi), angle)


def _eight(u: np.ndarray) -> np.ndarray:
    return _turned(np.full(len(u), 0.9), 2 * np.pi * np.floor(8 * u) / 8)


def _twenty_five(u: np.ndarray) -> np.ndarray:
    i = np.floor(25 * u)
    return 0.45 * np.stack([i // 5 - 2, i % 5 - 2], axis=1)


@dataclass(frozen=True)
class Blurred:
    """``at(u)``, u uniform in [0, 1), plus Gaussian noise. Of ``modes`` points u takes as many values, else it runs along a curve."""

    at: Callable[[np.ndarray], np.ndarray]
    blur: float
    modes: int = 0

    @property
    def nodes(self) -> np.ndarray:
        """Points ``(M, 2)`` of equal mass."""
        m = self.modes or NODES
        return self.at((np.arange(m) + 0.5) / m)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.at(rng.random(n)) + self.blur * rng.normal(size=(n, 2))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        nodes = self.nodes
        squared = ((x**2).sum(1)[:, None] + (nodes**2).sum(1) - 2 * x @ nodes.T) / self.blur**2
        least = squared.min(axis=1)
        mean = np.exp(-0.5 * (squared - least[:, None])).mean(axis=1)
        return np.log(mean) - 0.5 * least - math.log(2 * math.pi * self.blur**2)


class Checkerboard:
    """Uniform on every second square of 4 x 4 in [-1, 1]^2."""

    modes = 0

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        row, half = rng.integers(0, 4, n), rng.integers(0, 2, n)
        corner = np.stack([2 * half + row % 2, row], axis=1)
        return (corner + rng.random((n, 2))) / 2 - 1

    def log_density(self, x: np.ndarray) -> np.ndarray:
        square = np.floor((x + 1) * 2)
        inside = ((square >= 0) & (square < 4)).all(axis=1) & (square.sum(axis=1) % 2 == 0)
        return np.where(inside, math.log(0.5), -np.inf)


PATTERNS = {
    "rings": Blurred(_rings, 0.03),
    "spirals": Blurred(_spirals, 0.03),
    "checkerboard": Checkerboard(),
    "moons": Blurred(_moons, 0.05),
    "swiss-roll": Blurred(_swiss_roll, 0.03),
    "8-gaussians": Blurred(_eight, 0.06, modes=8),
    "25-gaussians": Blurred(_twenty_five, 0.03, modes=25),
}
NAMES = tuple(PATTERNS)


class Atlas:
    """The patterns ``names`` side by side: four in the upper row, the others in the lower one. Raises UserError for an unknown pattern."""

    def __init__(self, names: Sequence[str] = NAMES):
        for name in names:
            if name not in PATTERNS:
                raise UserError(f"no pattern {name!r}: {nearest(name, PATTERNS)}")
        if not names or len(set(names)) < len(names):
            raise UserError("patterns: at least one, none twice")
        self.names, upper = tuple(names), (len(names) + 1) // 2
        rows = (
            [(i - (upper - 1) / 2, 0.5) for i in range(upper)],
            [(i - (len(names) - upper - 1) / 2, -0.5) for i in range(len(names) - upper)],
        )
        self.centres = PITCH * np.array([*rows[0], *rows[1]]) if len(names) > 1 else np.zeros((1, 2))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """``n`` points ``(n, 2)`` and the numbers of their patterns."""
        which, x = rng.integers(0, len(self.names), n), np.empty((n, 2))
        for i, name in enumerate(self.names):
            at = which == i
            x[at] = self.centres[i] + PATTERNS[name].draw(int(at.sum()), rng)
        return x, which

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """``(N,)``, minus infinity where it is zero, or further from a pattern than 10 times the widest blur."""
        x = np.asarray(x, dtype=np.float64)
        found = np.full((len(self.names), len(x)), -np.inf)
        for i, name in enumerate(self.names):
            near = (np.abs(x - self.centres[i]) < 0.6 * PITCH).all(axis=1)
            found[i, near] = PATTERNS[name].log_density(x[near] - self.centres[i])
        return np.logaddexp.reduce(found, axis=0) - math.log(len(self.names))

    def tile(self, x: np.ndarray) -> np.ndarray:
        """The number of the pattern in whose square of side ``PITCH`` each point lies; -1 in none."""
        inside = (np.abs(x[:, None] - self.centres) < PITCH / 2).all(axis=2)
        return np.where(inside.any(axis=1), inside.argmax(axis=1), -1)

    def modes(self) -> dict[str, tuple[np.ndarray, float]]:
        """Means ``(M, 2)`` and standard deviation of the Gaussians, by pattern, of those patterns that consist of them."""
        found = zip(self.names, self.centres, strict=True)
        return {name: (PATTERNS[name].nodes + centre, PATTERNS[name].blur) for name, centre in found if PATTERNS[name].modes}


def points(patterns: list[str], n: int, split: str) -> tuple[torch.Tensor, np.ndarray]:
    """``n`` points ``(n, 2)`` of a split, whose seed belongs to the tasks, and the numbers of their patterns."""
    x, which = Atlas(patterns).draw(n, np.random.default_rng(SEEDS[split]))
    return torch.from_numpy(x).float(), which
