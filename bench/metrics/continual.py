"""Continual learning: what a matrix of accuracies says, rows the tasks learned so far, columns the tasks tested on."""

from __future__ import annotations

import numpy as np


def sequence_metrics(accuracy: np.ndarray) -> dict[str, float]:
    """Metrics of ``accuracy`` (K, T): on task j once task i was learned, of the first K of T tasks; averages are over all T.

    Average accuracy and backward transfer after Lopez-Paz and Ranzato 2017, forgetting after Chaudhry et al. 2018, whose maximum is over
    all times before the last task was learned. Both are 0 where nothing was learned before.
    """
    accuracy = np.asarray(accuracy, np.float64)
    learned = len(accuracy)
    found = {f"task_accuracy/after{i}-on{j}": float(value) for (i, j), value in np.ndenumerate(accuracy)}
    found |= {"average_accuracy": float(accuracy[-1].mean()), "learned_accuracy": float(accuracy.diagonal().mean())}
    if learned == 1:
        return found | {"forgetting": 0.0, "backward_transfer": 0.0}
    last, before = accuracy[-1, : learned - 1], accuracy[:-1, : learned - 1]
    return found | {
        "forgetting": float((before.max(0) - last).mean()),
        "backward_transfer": float((last - before.diagonal()).mean()),
    }
