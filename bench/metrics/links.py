"""Link prediction: scores of held-out edges (positive) against scores of non-edges."""

from __future__ import annotations

import numpy as np

from elboard.bench.metrics.ood import auroc_of_curve, average_precision_of_curve, binary_curve


def link_metrics(edges: np.ndarray, non_edges: np.ndarray) -> dict[str, float]:
    """``auc`` (ties count half) and ``ap`` of scores ``(P,)`` and ``(N,)``. Raises ValueError for scores that are not finite."""
    true, false = binary_curve(edges, non_edges)
    return {"auc": auroc_of_curve(true, false), "ap": average_precision_of_curve(true, false)}
