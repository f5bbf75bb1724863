"""Learning with corrupted labels: accuracy over epochs, memorisation, quality of the selected examples, prefixes, draws of the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def accuracy_over_epochs(clean_test: Sequence[float], noisy_valid: Sequence[float]) -> dict[str, float]:
    """From one value per epoch: ``accuracy_best`` (at the first epoch of the best noisy-validation accuracy), ``accuracy_peak``
    (largest: an oracle), ``accuracy_last10`` (mean of the last ten epochs, or of all if fewer). NaN is never best: where all are, so is
    what they give.

    Raises ValueError for empty or unequal sequences.
    """
    if not clean_test or len(clean_test) != len(noisy_valid):
        raise ValueError("one test and one validation accuracy for each epoch")
    best = max((i for i, value in enumerate(noisy_valid) if not math.isnan(value)), key=noisy_valid.__getitem__, default=None)
    return {
        "accuracy_best": math.nan if best is None else float(clean_test[best]),
        "accuracy_peak": float(max((value for value in clean_test if not math.isnan(value)), default=math.nan)),
        "accuracy_last10": float(np.mean(clean_test[-10:])),
    }


def memorised(predicted: np.ndarray, noisy: np.ndarray, clean: np.ndarray) -> float:
    """Share of the corrupted training examples whose corrupted label is predicted; 0 if none is corrupted."""
    corrupted = noisy != clean
    return float((predicted[corrupted] == noisy[corrupted]).mean()) if corrupted.any() else 0.0


def label_precision(selected: np.ndarray, noisy: np.ndarray, clean: np.ndarray) -> float:
    """Share of clean labels among the selected training examples (boolean ``(N,)``); 0 if none is selected."""
    return float((noisy == clean)[selected].mean()) if selected.any() else 0.0


def prefix_defect(accuracies: np.ndarray, chosen: int) -> float:
    """By how much ``accuracies`` ``(D,)`` with 1, 2, ... features are not unimodal about the ``chosen`` number, or not flat from it on: the
    smaller of the two; 0 where either holds.

    Not unimodal by the largest fall before it or rise behind it, of any two places; not flat by the largest distance from the value at it.
    """
    before, behind = (np.asarray(part, dtype=np.float64) for part in (accuracies[:chosen], accuracies[chosen - 1 :]))
    falls = (np.maximum.accumulate(before) - before).max()
    rises = (behind - np.minimum.accumulate(behind)).max()
    return float(min(max(falls, rises), np.abs(behind - behind[0]).max()))


def over_draws(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """``draw_brier`` = ``draw_bias`` + ``draw_variance`` of probabilities ``(N, R, C)`` of R draws, at least two, and classes ``(N,)``.

    The variance, summed over classes, is the unbiased one of R draws; what is left of the mean Brier score is the squared distance of the
    expected prediction from the class, without bias too and so below 0 at times.
    """
    p, truth = p.astype(np.float64), np.eye(p.shape[2])[y][:, None]
    brier, variance = ((p - truth) ** 2).sum(2).mean(), p.var(axis=1, ddof=1).sum(1).mean()
    return {"draw_brier": float(brier), "draw_variance": float(variance), "draw_bias": float(brier - variance)}
