"""Accuracy, proper scores and calibration of averaged predictive probabilities ``(N, C)`` against classes ``(N,)``."""

from __future__ import annotations

import numpy as np

FLOOR = 1e-12  # probabilities below this count as this in logarithms
BINS = 15


def accuracy(p: np.ndarray, y: np.ndarray) -> float:
    """Share of examples whose most probable class is right; the lowest index among equals. No class is most probable beside NaN."""
    return float(((p.argmax(axis=1) == y) & ~np.isnan(p).any(axis=1)).mean())


def class_nll(p: np.ndarray, y: np.ndarray) -> float:
    """Mean of -log p(y), with probabilities floored at 1e-12."""
    return float(-np.log(np.clip(p[np.arange(len(y)), y].astype(np.float64), FLOOR, 1.0)).mean())


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Mean over examples of the sum over classes of ``(p - onehot)^2``: 0 to 2 (Brier 1950)."""
    target = np.zeros(p.shape)
    target[np.arange(len(y)), y] = 1
    return float(((p - target) ** 2).sum(axis=1).mean())


def entropy(p: np.ndarray) -> float:
    """Mean entropy of the predictive distribution, in nats."""
    p = np.asarray(p, dtype=np.float64)
    return float(-(p * np.log(np.clip(p, FLOOR, 1.0))).sum(axis=1).mean())


def equal_width_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin of each confidence: right-closed, ``(i/bins, (i+1)/bins]``; 0 belongs to the first, 1 to the last."""
    return np.clip(np.ceil(np.asarray(confidence, dtype=np.float64) * bins).astype(int) - 1, 0, bins - 1)


def _gaps(confidence: np.ndarray, hit: np.ndarray, index: np.ndarray, bins: int) -> np.ndarray:
    """Sum of confidence - hit over the examples of each bin, ``(bins,)``."""
    return np.bincount(index, weights=np.asarray(confidence, dtype=np.float64) - hit, minlength=bins)


def top_gaps(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sum of confidence - hit of the top class over the examples of each equal-width right-closed bin, ``(bins,)``: parts of the data
    add up."""
    confidence = p.max(axis=1)
    return _gaps(confidence, p.argmax(axis=1) == y, equal_width_bins(confidence, bins), bins)


def class_gaps(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The same of the probability of each class, ``(C, bins)``."""
    return np.stack([_gaps(p[:, c], y == c, equal_width_bins(p[:, c], bins), bins) for c in range(p.shape[1])])


def binned_error(gaps: np.ndarray, n: int) -> float:
    """``sum_b n_b/N |mean confidence - mean hit|`` of the gaps of n examples, mean over all but their last dimension."""
    return float(np.abs(gaps).sum(axis=-1).mean() / n)


def ece(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the top class, equal-width right-closed bins (Guo et al. 2017)."""
    return binned_error(top_gaps(p, y, bins), len(y))


def adaptive_ece(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """As :func:`ece`, with bins of equal mass: the sorted examples cut into ``bins`` parts whose sizes differ by one at most.

    Examples of the same confidence each count with their mean hit, so that a border among them does not depend on their order.
    """
    confidence = p.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    index = np.empty(len(y), dtype=int)
    for i, part in enumerate(np.array_split(order, bins)):
        index[part] = i
    _, tied, count = np.unique(confidence, return_inverse=True, return_counts=True)
    hit = np.bincount(tied, weights=p.argmax(axis=1) == y) / count
    return binned_error(_gaps(confidence, hit[tied], index, bins), len(y))


def classwise_ece(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """Mean over classes of the calibration error of that class's probability (Kull et al. 2019)."""
    return binned_error(class_gaps(p, y, bins), len(y))


SCORES = (accuracy, class_nll, brier, ece, adaptive_ece, classwise_ece)
CLASSIFICATION = (*(score.__name__ for score in SCORES), "entropy")


def classification_metrics(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """accuracy, class_nll, brier, ece, adaptive_ece, classwise_ece, entropy."""
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y)
    return {**{score.__name__: score(p, y) for score in SCORES}, "entropy": entropy(p)}
