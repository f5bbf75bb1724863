"""Reliability diagrams as images (Niculescu-Mizil and Caruana 2005; Guo et al. 2017, figure 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from elboard.bench.metrics.calibration import BINS, ece, equal_width_bins

SIDE, STRIP = 300, 60  # pixels of the diagram and of the histogram below it; SIDE is a multiple of BINS
LEFT, TOP, GAP = 36, 30, 22  # room for the numbers of the axis, for the title, between diagram, histogram and edge
BLUE, RED, GREY, LIGHT, BLACK = (70, 110, 180), (235, 170, 160), (150, 150, 150), (225, 225, 225), (0, 0, 0)


def bins_of(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy (both 0 in an empty bin) and share of the examples of each equal-width bin."""
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == y
    index = equal_width_bins(confidence)
    count = np.bincount(index, minlength=BINS)
    sums = [np.bincount(index, weights=values, minlength=BINS) for values in (confidence, hit)]
    return sums[0] / np.maximum(count, 1), sums[1] / np.maximum(count, 1), count / len(y)


def _plot(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The diagram alone, ``(SIDE, SIDE, 3)``: black at the accuracy, red from there to the mean confidence, the diagonal in grey."""
    confidence, accuracy, _ = bins_of(p, y)
    column = np.arange(SIDE)
    height = (SIDE - 0.5 - column)[:, None] / SIDE  # of each row of pixels, from 1 down to 0
    of = column * BINS // SIDE
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for tenth in range(2, 10, 2):
        image[SIDE - tenth * SIDE // 10] = LIGHT
    low, high = np.minimum(accuracy, confidence)[of], np.maximum(accuracy, confidence)[of]
    image[(height <= accuracy[of])] = BLUE
    image[(height > low) & (height <= high)] = RED
    edge = np.abs(height - accuracy[of]) < 1.5 / SIDE
    image[edge & (accuracy[of] > 0)] = BLACK
    image[:, :: SIDE // BINS][(height <= high)[:, :: SIDE // BINS]] = 255
    image[np.abs(height - (column + 0.5) / SIDE) < 1.0 / SIDE] = GREY
    return image


def _histogram(share: np.ndarray) -> np.ndarray:
    """Shares of the bins' examples, ``(STRIP, SIDE, 3)``; the full height is one."""
    height = (STRIP - 0.5 - np.arange(STRIP))[:, None] / STRIP
    image = np.full((STRIP, SIDE, 3), 255, np.uint8)
    image[height <= share[np.arange(SIDE) * BINS // SIDE]] = GREY
    return image


def _frame(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((1, 1), (1, 1), (0, 0)))


def _panel(title: str, p: np.ndarray, y: np.ndarray) -> np.ndarray:
    plot, histogram = _frame(_plot(p, y)), _frame(_histogram(bins_of(p, y)[2]))
    top = TOP + plot.shape[0] + GAP
    image = np.full((top + histogram.shape[0] + 2 * GAP, LEFT + plot.shape[1] + GAP, 3), 255, np.uint8)
    image[TOP : TOP + plot.shape[0], LEFT : LEFT + plot.shape[1]] = plot
    image[top : top + histogram.shape[0], LEFT : LEFT + plot.shape[1]] = histogram
    picture = Image.fromarray(image)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    draw.text((LEFT, 8), f"{title}: accuracy {(p.argmax(1) == y).mean():.3f}, ECE {ece(p, y):.3f}", BLACK, font)
    for fifth in range(6):
        draw.text((LEFT - 22, TOP + SIDE - fifth * SIDE // 5 - 6), f"{fifth / 5:.1f}", BLACK, font)
        draw.text((LEFT + fifth * SIDE // 5 - 8, TOP + SIDE + 5), f"{fifth / 5:.1f}", BLACK, font)
    draw.text((LEFT, top + STRIP + 5), "confidence; black: accuracy, red: gap; below: share of images", BLACK, font)
    return np.asarray(picture)


def reliability_diagram(parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """One diagram a part, side by side, as uint8 ``(H, W, 3)``.

    For each bin of confidence a black mark at its accuracy and red from there to its mean confidence: above the mark the classifier is
    over-confident, below it under-confident. The figures in the title are those of the images shown, all of a part together.

    Args:
        parts: title -> averaged predictive ``(N, C)`` and classes ``(N,)``.
    """
    return np.concatenate([_panel(title, p, y) for title, (p, y) in parts.items()], axis=1)
