"""Two kinds of examples told apart by scores, the positive ones by higher scores: out-of-distribution examples, links of a graph."""

from __future__ import annotations

import numpy as np


def binary_curve(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of true and false positives, from none of each on and at each distinct threshold, from the highest score down; equal scores
    fall together. Read from the other end, what is left of each: the curve of the negative ones by negated scores."""
    scores = np.concatenate([positive, negative])
    scores = np.negative(scores, dtype=np.result_type(scores, np.float32))
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    n = len(positive)
    scores[:n].sort()
    scores[n:].sort()
    order = np.argsort(scores, kind="stable")  # of two runs that are sorted, a stable sort is their merge
    scores = scores[order]
    count = np.concatenate([[0.0], np.cumsum(order < n, dtype=np.float64)])
    at = np.concatenate([[0], np.flatnonzero(scores[1:] != scores[:-1]) + 1, [len(scores)]])
    true = count[at]
    return true, at - true


def auroc_of_curve(true: np.ndarray, false: np.ndarray) -> float:
    """Area under the ROC curve by trapezoids, so that a tie counts half."""
    return float(np.diff(false) @ (true[1:] + true[:-1]) / (2 * true[-1] * false[-1]))


def average_precision_of_curve(true: np.ndarray, false: np.ndarray) -> float:
    """``sum_t (recall_t - recall_{t-1}) precision_t`` over distinct thresholds."""
    return float(np.diff(true) @ (true[1:] / (true[1:] + false[1:])) / true[-1])


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
    accepted_id, accepted_ood = n_id - false[::-1], n_ood - true[::-1]
    return {
        "auroc": auroc_of_curve(true, false),
        "aupr_in": average_precision_of_curve(accepted_id, accepted_ood),
        "aupr_out": average_precision_of_curve(true, false),
        "fpr95_ood_positive": float(false[np.searchsorted(true, 0.95 * n_ood)] / n_id),
        "fpr95_id_positive": float(accepted_ood[np.searchsorted(accepted_id, 0.95 * n_id)] / n_ood),
    }


def fpr_ood_positive(score_id: np.ndarray, score_ood: np.ndarray, share: float) -> float:
    """Share of ID examples flagged at the highest threshold that flags at least ``share`` (above 0) of the OOD examples. Raises as
    :func:`ood_metrics`."""
    true, false = binary_curve(score_ood, score_id)
    return float(false[np.searchsorted(true, share * true[-1])] / false[-1])
