"""Anomalies: thresholds of scores, overlap of heat maps with masks, how far codes of two kinds lie apart."""

from __future__ import annotations

import numpy as np

from elboard.bench.metrics.ood import auroc_of_curve, binary_curve

LEVELS = 50  # thresholds of a heat map, the same for all methods
APART = 0.1  # a heat map with less overlap speaks of something else than the anomaly


def best_threshold(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """The score from which on images are flagged so that ``sqrt(TPR (1 - FPR))`` is largest, the highest one among equals."""
    true, false = binary_curve(anomalous, normal)
    mean = np.sqrt(true / true[-1] * (1 - false / false[-1]))
    levels = np.unique(np.concatenate([normal, anomalous]))[::-1]
    return float(levels[max(int(mean.argmax()) - 1, 0)])


def flagged(normal: np.ndarray, anomalous: np.ndarray, threshold: float) -> dict[str, float]:
    """Rates of images whose score is at least ``threshold``."""
    true, false = float((anomalous >= threshold).sum()), float((normal >= threshold).sum())
    precision = true / (true + false) if true + false else 1.0
    return {"detection_rate": true / len(anomalous), "false_alarms": false / len(normal), "alarm_precision": precision}


def max_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """``(N,)``: the largest intersection over union of masks ``(N, H, W)``, bool, and of where the maps ``(N, H, W)`` are above
    ``k / 50`` of their largest value, k = 0 ... 49. 0 for a map that is nowhere above 0."""
    maps, masks = (of.reshape(len(of), -1) for of in (maps, masks))
    peak, best = maps.max(1, keepdims=True), np.zeros(len(maps))
    for level in np.arange(LEVELS) / LEVELS:
        above = (maps > level * peak) & (peak > 0)
        best = np.maximum(best, (above & masks).sum(1) / np.maximum((above | masks).sum(1), 1))
    return best


def ceiling_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """``(N,)``: the largest intersection over union of a mask and a union of regions in which the map has one value.

    Regions are taken by the share of them that is masked: none that is left has a larger one than the best union's overlap.
    """
    best = []
    for values, mask in zip(maps.reshape(len(maps), -1), masks.reshape(len(masks), -1), strict=True):
        _, region = np.unique(values, return_inverse=True)
        size, inside = np.bincount(region), np.bincount(region, mask)
        order = np.argsort(-inside / size, kind="stable")
        inside, size = inside[order].cumsum(), size[order].cumsum()
        best.append((inside / (size + mask.sum() - inside)).max())
    return np.array(best)


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """``(N,)``: the area under the ROC curve of the pixels of each map, those of the mask positive."""
    return np.array([auroc_of_curve(*binary_curve(of[mask], of[~mask])) for of, mask in zip(maps, masks, strict=True)])


def silhouettes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``(N + M,)``: of each point of two groups (N, D) and (M, D) ``(other - own) / max(own, other)``, mean distances to the points of the
    groups, itself left out (Rousseeuw 1987). 0 for the only point of a group and where both distances are 0."""
    points, n = np.concatenate([a, b]).astype(np.float64), len(a)
    squared = (points**2).sum(1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared - 2 * points @ points.T, 0))
    np.fill_diagonal(distance, 0)
    to_a, to_b = distance[:, :n].sum(1), distance[:, n:].sum(1)
    first = np.arange(len(points)) < n
    size = np.where(first, n, len(b))
    own = np.where(first, to_a, to_b) / np.maximum(size - 1, 1)
    other = np.where(first, to_b / len(b), to_a / n)
    largest = np.maximum(own, other)
    return np.where((size > 1) & (largest > 0), (other - own) / np.where(largest > 0, largest, 1), 0.0)
