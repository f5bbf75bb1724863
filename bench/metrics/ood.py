"""Two kinds of examples told apart by scores, the positive ones by higher scores: out-of-distribution examples, links of a graph."""

from __future__ import annotations

import numpy as np


def binary_curve(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of true and false positives at each distinct threshold, from the highest score down; equal scores fall together."""
    scores = np.concatenate([positive, negative]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    label = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    order = np.argsort(-scores, kind="stable")
    scores, label = scores[order], label[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true = np.cumsum(label)[last]
    return true, last + 1 - true


def auroc_of_curve(true: np.ndarray, false: np.ndarray) -> float:
    """Area under the ROC curve by trapezoids, so that a tie counts half."""
    x, y = np.concatenate([[0], false]) / false[-1], np.concatenate([[0], true]) / true[-1]
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def average_precision_of_curve(true: np.ndarray, false: np.ndarray) -> float:
    """``sum_t (recall_t - recall_{t-1}) precision_t`` over distinct thresholds."""
    steps = np.diff(np.concatenate([[0], true])) / true[-1]
    return float((steps * true / (true + false)).sum())


def link_metrics(edges: np.ndarray, non_edges: np.ndarray) -> dict[str, float]:
    """``auc`` (ties count half) and ``ap`` of scores ``(P,)`` and ``(N,)``. Raises ValueError for scores that are not finite."""
    true, false = binary_curve(edges, non_edges)
    return {"auc": auroc_of_curve(true, false), "ap": average_precision_of_curve(true, false)}


def ood_metrics(score_id: np.ndarray, score_ood: np.ndarray) -> dict[str, float]:
    """All detection metrics from one sort.

    Args:
        score_id, score_ood: ``(N,)`` and ``(M,)``, at least one each.

    Returns:
        auroc (ties half), aupr_out (OOD positive), aupr_in (ID positive, negated scores),
        fpr95_ood_positive: share of ID examples flagged at the highest threshold that flags at least 95 % of OOD,
        fpr95_id_positive: share of OOD examples accepted at the lowest threshold that accepts at least 95 % of ID.

    Raises:
        ValueError: a score that is not finite, or an empty side.
    """
    if len(score_id) == 0 or len(score_ood) == 0:
        raise ValueError("detection needs examples of both kinds")
    true, false = binary_curve(score_ood, score_id)
    n_ood, n_id = true[-1], false[-1]
    # Read from the other end, the same thresholds flag ID examples by negated scores.
    accepted_id = np.append(n_id - false[-2::-1], n_id)
    accepted_ood = np.append(n_ood - true[-2::-1], n_ood)
    return {
        "auroc": auroc_of_curve(true, false),
        "aupr_in": average_precision_of_curve(accepted_id, accepted_ood),
        "aupr_out": average_precision_of_curve(true, false),
        "fpr95_ood_positive": float(false[np.argmax(true >= 0.95 * n_ood)] / n_id),
        "fpr95_id_positive": float(accepted_ood[np.argmax(accepted_id >= 0.95 * n_id)] / n_ood),
    }
