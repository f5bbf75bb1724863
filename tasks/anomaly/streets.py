"""Streets with things on the road that do not belong there, 32 x 32 RGB, drawn here.

A street is sky, a skyline, verges and a road in perspective with solid edges, a dashed middle line and up to three cars, boxes with a dark
window whose size goes with their distance; all of it has grain. An anomaly is a thing of another shape on the road, of any colour, 3, 5 or
9 pixels wide: a disc, a triangle or a checkerboard in training and validation images, and in half of the anomalous test images a cross or a
ring, kinds that no method has seen.

One training image in five has an anomaly and says so. Slices: ``small``, ``medium``, ``large``; ``known`` and ``held-out`` kinds;
``size_gap`` is the AUROC of large ones less that of small ones. Protocol and metrics: :mod:`elboard.tasks.anomaly.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.options import Count
from elboard.tasks.anomaly.base import Anomalies, Drawn, joined

CARD = TaskCard(
    name="anomaly/streets",
    title="Things on the road that do not belong there",
    needs=("AnomalyScorer",),
    primary="auroc",
    metrics=("auroc", "auroc/small", "auroc/large", "auroc/held-out", "fpr95_ood_positive", "alarm_precision", "psnr", "pixel_auroc"),
    selection="auroc",
    papers=("044",),
    full="50,000 streets for 50 epochs; no paper's own setting",
    work={"lite": (4000, 3600), "full": (50_000, 18_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 100, "n_valid": 40, "n_test": 60}},
    "lite": {"train": {"epochs": 10, "batch_size": 32, "validate_every": 5}, "task": {}},
    "full": {"train": {"epochs": 50, "batch_size": 32, "validate_every": 10}, "task": {"n_train": 50_000, "n_test": 6000}},
}
WIDTH = 32
SIZES = (3, 5, 9)
KNOWN = 3  # the first kinds of SHAPES, which training and validation images have
ROWS, COLUMNS = np.mgrid[:WIDTH, :WIDTH]


def _disc(dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.hypot(dx, dy) <= r + 0.35


def _triangle(dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    return (np.abs(dy) <= r) & (np.abs(dx) <= (dy + r) / 2 + 0.1)


def _square(dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(dx), np.abs(dy)) <= r


def _cross(dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    return _square(dx, dy, r) & (np.abs(np.abs(dx) - np.abs(dy)) <= r / 4)


def _ring(dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    return _disc(dx, dy, r) & (np.hypot(dx, dy) > r / 2)


SHAPES = (_disc, _triangle, _square, _cross, _ring)  # the third with a checkerboard on it


class _Sheet:
    """n images that are painted on, ``(n, 3, 32, 32)``."""

    def __init__(self, n: int, rng: np.random.Generator):
        self.x, self.n, self.rng = np.zeros((n, 3, WIDTH, WIDTH)), n, rng

    def some(self, low: float, high: float) -> np.ndarray:
        return self.rng.uniform(low, high, (self.n, 1, 1))

    def colour(self, centre: tuple[float, float, float], spread: float) -> np.ndarray:
        """A colour an image, ``(n, 3, 1, 1)``."""
        return np.array(centre)[:, None, None] + self.rng.uniform(-spread, spread, (self.n, 3, 1, 1))

    def paint(self, where: np.ndarray, colour: np.ndarray) -> None:
        """``where`` (n, 32, 32) in ``colour`` (n, 3, 1 or 32, ditto)."""
        self.x = np.where(where[:, None], colour, self.x)


def _scenery(sheet: _Sheet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint all but what is on the road; the row of the horizon, the middle of the road and its half width, ``(n, 1 or 32, 1)``."""
    horizon, vanishing, near = sheet.some(9, 13), sheet.some(13, 19), sheet.some(11, 15)
    depth = np.maximum(ROWS[None, :, :1] + 0.5 - horizon, 0)
    share = depth / (WIDTH - horizon)
    middle, half = vanishing + (16 - vanishing) * share, 0.6 + (near - 0.6) * share
    sheet.paint(np.ones((sheet.n, WIDTH, WIDTH), bool), sheet.colour((0.55, 0.7, 0.9), 0.08) + 0.01 * ROWS)
    for left in (-2, 5, 12, 19, 26):
        inside = (left + sheet.some(-3, 3) <= COLUMNS) & (horizon - ROWS < sheet.some(1, 7)) & (horizon > ROWS)
        sheet.paint(inside & (left + 9 > COLUMNS), sheet.colour((0.5, 0.42, 0.4), 0.12))
    ground = horizon < ROWS + 0.5
    sheet.paint(ground, sheet.colour((0.3, 0.42, 0.2), 0.08) + 0.06 * sheet.rng.normal(size=(sheet.n, 1, WIDTH, WIDTH)))
    aside = np.abs(COLUMNS + 0.5 - middle)
    sheet.paint(ground & (aside < half), np.broadcast_to(sheet.some(0.3, 0.42)[:, None], (sheet.n, 3, 1, 1)))
    line = np.maximum(0.06 * half, 0.35)
    dashed = np.sin(60 / np.maximum(depth, 0.5) + sheet.some(0, 6.28)) > 0
    marked = (np.abs(aside - 0.88 * half) < line) | ((aside < line) & dashed)
    sheet.paint(ground & marked, np.full((sheet.n, 3, 1, 1), 0.85))
    return horizon, middle, half


def _at(of: np.ndarray, row: np.ndarray) -> np.ndarray:
    """``of`` (n, 32, 1) at the rows ``(n, 1, 1)``."""
    return np.take_along_axis(of, row.astype(int).clip(0, WIDTH - 1), axis=1)


def _cars(sheet: _Sheet, horizon: np.ndarray, middle: np.ndarray, half: np.ndarray) -> None:
    for lane, there in ((-0.5, 0.6), (0.45, 0.6), (-0.35, 0.3)):
        bottom = horizon + (WIDTH - horizon) * sheet.some(0.25, 0.85)
        wide = np.maximum(0.3 * _at(half, bottom), 1.2)
        dx = COLUMNS + 0.5 - _at(middle, bottom) - lane * _at(half, bottom) * sheet.some(0.9, 1.1)
        up = (bottom - ROWS - 0.5) / (1.5 * wide)
        body = (np.abs(dx) <= wide) & (up >= 0) & (up <= 1) & (sheet.some(0, 1) < there)
        sheet.paint(body, sheet.rng.uniform(0.1, 0.95, (sheet.n, 3, 1, 1)))
        sheet.paint(body & (up > 0.55) & (up < 0.85) & (np.abs(dx) < 0.75 * wide), np.full((sheet.n, 3, 1, 1), 0.12))
        sheet.paint(body & (up < 0.18), np.full((sheet.n, 3, 1, 1), 0.08))


def draw(n: int, rng: np.random.Generator, kinds: tuple[int, ...] = ()) -> Drawn:
    """n streets, each with an anomaly of one of ``kinds``, indices of SHAPES; without kinds normal ones."""
    sheet = _Sheet(n, rng)
    horizon, middle, half = _scenery(sheet)
    _cars(sheet, horizon, middle, half)
    size, mask = rng.integers(len(SIZES), size=n), np.zeros((n, WIDTH, WIDTH), bool)
    kind = rng.choice(kinds, size=n) if kinds else np.zeros(n, int)
    if kinds:
        side = np.array(SIZES)[size][:, None, None]
        row = np.floor(horizon + (WIDTH - horizon) * sheet.some(0.3, 0.8)).clip(side // 2, WIDTH - 1 - side // 2)
        column = np.floor(_at(middle, row) + _at(half, row) * sheet.some(-0.7, 0.7)).clip(side // 2, WIDTH - 1 - side // 2)
        dx, dy = COLUMNS - column, ROWS - row
        for k, shape in enumerate(SHAPES):
            mask |= (kind == k)[:, None, None] & shape(dx, dy, side // 2)
        colour, other = rng.uniform(0, 1, (2, n, 3, 1, 1))
        checked = ((kind == 2)[:, None, None] & ((dx + dy) % 2 == 1))[:, None]
        sheet.paint(mask, np.where(checked, other, colour))
    x = sheet.x + 0.02 * rng.normal(size=sheet.x.shape)
    return Drawn(x.clip(0, 1).astype(np.float32), mask, {"size": size, "kind": (kind >= KNOWN).astype(int)})


class Streets(Anomalies):
    """See the module."""

    groups: ClassVar = {"size": ("small", "medium", "large"), "kind": ("known", "held-out")}
    share: ClassVar = 0.2

    @dataclass(kw_only=True)
    class Config(Anomalies.Config):
        n_train: Count = 4000
        n_valid: Count = 400
        n_test: Count = 1200

    def draw(self, n: int, anomalous: bool, split: str, rng: np.random.Generator) -> Drawn:
        if not anomalous:
            return draw(n, rng)
        held_out = n // 2 if split == "test" else 0
        return joined([draw(k, rng, kinds) for k, kinds in ((n - held_out, (0, 1, 2)), (held_out, (3, 4))) if k])
