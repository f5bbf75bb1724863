"""Tiles of stone with scratches, holes and prints, 48 x 48 RGB, drawn here.

A tile lies at a random angle and place on a dark ground, as the hazelnuts of MVTec AD do: most of the variance of pixels is where the
tile lies, which a code can hold. It is made of chips with sharp borders, cells around random points, whose brightness varies by
``contrast``: a texture that no code of a few numbers holds. A defect lies on the tile: a thin light or dark scratch, a dark hole, or a
printed letter of one colour, each covering a few hundredths of the picture.

Ground and contrast were chosen on validation images by the simplest detector, the difference from the mean training image: its largest
pixel has an AUROC of 0.53, its sum of squares one of 0.87. On a grey ground (0.36, with contrast 0.25) the former had 0.89, and five
sixths of the variance were chips, so that the short run of a VAE gave the mean image back.

Training images are all normal. Slices: ``scratch``, ``hole``, ``print``. The detector is asked for a heat map too, and whether it lies on
the defect: ``wrong_reason`` is the share of detected defects whose map does not. Protocol and metrics: :mod:`elboard.tasks.anomaly.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.options import Count, NonNegative
from elboard.tasks.anomaly.base import Anomalies, Drawn

CARD = TaskCard(
    name="anomaly/tiles",
    title="Defects of tiles, and whether heat maps lie on them",
    needs=("AnomalyMap",),
    primary="auroc",
    metrics=("auroc", "detection_rate", "false_alarms", "pixel_auroc", "max_iou", "wrong_reason", "ceiling_iou", "psnr"),
    selection="auroc",
    papers=("077",),
    full="5,000 tiles for 50 epochs; no paper's own setting",
    work={"lite": (1200, 720), "full": (5000, 3000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 60, "n_valid": 24, "n_test": 24}},
    "lite": {"train": {"epochs": 15, "batch_size": 32, "validate_every": 5, "keep": "best"}, "task": {}},
    "full": {"train": {"epochs": 50, "batch_size": 32, "validate_every": 10, "keep": "best"}, "task": {"n_train": 5000, "n_test": 1000}},
}
WIDTH, CHIPS = 48, 70
GROUND = 0.08
LETTERS = (  # strokes from (across, down) to (across, down), in a box from -1 to 1
    ((-0.7, -1, 0.7, -1), (0, -1, 0, 1)),
    ((-0.7, -1, -0.7, 1), (-0.7, 1, 0.7, 1)),
    ((-0.7, -1, -0.7, 1), (0.7, -1, 0.7, 1), (-0.7, 0, 0.7, 0)),
)
ROWS, COLUMNS = np.mgrid[:WIDTH, :WIDTH] + 0.5


def _near_stroke(across: np.ndarray, down: np.ndarray, stroke: tuple[np.ndarray, ...]) -> np.ndarray:
    """Distance of points from the stretch between two others."""
    ax, ay, bx, by = stroke
    dx, dy = bx - ax, by - ay
    along = (((across - ax) * dx + (down - ay) * dy) / (dx * dx + dy * dy)).clip(0, 1)
    return np.hypot(across - ax - along * dx, down - ay - along * dy)


def _defect(across: np.ndarray, down: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Masks ``(n, 48, 48)`` and colours ``(n, 3, 1, 1)``, in the coordinates of the tile in pixels."""
    n = len(kind)
    x, y = rng.uniform(-8, 8, (2, n, 1, 1))
    angle, long = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(6, 10, (n, 1, 1))
    dx, dy = long * np.cos(angle), long * np.sin(angle)
    scratch = _near_stroke(across, down, (x - dx, y - dy, x + dx, y + dy)) <= 1.2
    hole = np.hypot(across - x, down - y) <= rng.uniform(3, 4.5, (n, 1, 1))
    letter, size = rng.integers(len(LETTERS), size=n), rng.uniform(4.5, 6, (n, 1, 1))
    strokes = [
        [_near_stroke(across, down, tuple(place + size * end for place, end in zip((x, y, x, y), of, strict=True))) for of in one]
        for one in LETTERS
    ]
    print_ = np.choose(letter[:, None, None], [np.min(distances, axis=0) <= 1.1 for distances in strokes])
    pick = kind[:, None, None]
    grey = np.where(rng.random((n, 1, 1, 1)) < 0.5, 0.15, 0.9)
    ink = np.array([(0.8, 0.1, 0.1), (0.1, 0.25, 0.8), (0.1, 0.55, 0.2)])[rng.integers(3, size=n)][:, :, None, None]
    colour = np.where(pick[:, None] == 0, grey, np.where(pick[:, None] == 1, 0.1, ink))
    return np.choose(pick, [scratch, hole, print_]), colour


def draw(n: int, rng: np.random.Generator, contrast: float, anomalous: bool) -> Drawn:
    """n tiles, with defects or without."""
    angle, middle = rng.uniform(-np.pi, np.pi, (n, 1, 1)), rng.uniform(-2, 2, (2, n, 1, 1)) + WIDTH / 2
    dx, dy = COLUMNS - middle[0], ROWS - middle[1]
    across, down = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    side = rng.uniform(15, 17, (n, 1, 1))
    outside = np.hypot(np.maximum(np.abs(across) - side + 4, 0), np.maximum(np.abs(down) - side + 4, 0))
    tile = outside <= 4  # a square with round corners
    points = rng.uniform(-24, 24, (n, 2, CHIPS))
    pixels = np.stack([across.reshape(n, -1), down.reshape(n, -1)], axis=2)
    cell = (pixels @ points - 0.5 * (points**2).sum(1, keepdims=True)).argmax(2)  # the nearest point's
    bright = contrast * rng.uniform(-1, 1, (n, CHIPS))
    chips = np.take_along_axis(bright, cell, axis=1).reshape(tile.shape)
    stone = np.array([0.62, 0.52, 0.42])[:, None, None] + rng.uniform(-0.05, 0.05, (n, 3, 1, 1))
    x = np.where(tile[:, None], stone + chips[:, None], GROUND + 0.002 * ROWS)
    kind, mask = rng.integers(3, size=n), np.zeros(tile.shape, bool)
    if anomalous:
        mask, colour = _defect(across, down, kind, rng)
        mask &= tile
        x = np.where(mask[:, None], colour, x)
    x = x + 0.015 * rng.normal(size=x.shape)
    return Drawn(x.clip(0, 1).astype(np.float32), mask, {"defect": kind})


class Tiles(Anomalies):
    """See the module."""

    groups: ClassVar = {"defect": ("scratch", "hole", "print")}

    @dataclass(kw_only=True)
    class Config(Anomalies.Config):
        n_train: Count = 1200
        n_valid: Count = 120
        n_test: Count = 240
        contrast: NonNegative = 0.15  # of the chips, in [0, 1]

    def draw(self, n: int, anomalous: bool, split: str, rng: np.random.Generator) -> Drawn:
        return draw(n, rng, self.config.contrast, anomalous)
