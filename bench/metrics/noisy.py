"""Learning with corrupted labels: accuracy over epochs, memorisation, quality of the selected examples."""

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
