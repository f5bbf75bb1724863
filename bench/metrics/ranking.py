"""Top-K ranking for users with a history and held-out targets (Liang et al. 2018, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def top_items(scores: np.ndarray, history: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each user outside the history, ``(U, k)``, best first; the lower index among equal scores."""
    masked = np.where(history.astype(bool), -np.inf, np.asarray(scores, dtype=np.float64))
    return np.argsort(-masked, axis=1, kind="stable")[:, :k]


def per_user(top: np.ndarray, targets: np.ndarray, ks: Sequence[int], ndcg_ks: Sequence[int]) -> dict[str, np.ndarray]:
    """``recall@k`` (denominator min(k, targets)) and ``ndcg@k`` (ideal truncated at k), one value for each user.

    Args:
        top: item lists, ``(U, max k)``.
        targets: held-out items, boolean ``(U, I)``, at least one for each user.
    """
    hits = np.take_along_axis(targets.astype(bool), top, axis=1)
    count = targets.astype(bool).sum(axis=1)
    discount = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    found = {f"recall@{k}": hits[:, :k].sum(axis=1) / np.minimum(k, count) for k in ks}
    for k in ndcg_ks:
        ideal = np.concatenate([[0], np.cumsum(discount[:k])])[np.minimum(k, count)]
        found[f"ndcg@{k}"] = (hits[:, :k] * discount[:k]).sum(axis=1) / ideal
    return found


def ranking_metrics(
    scores: np.ndarray, history: np.ndarray, targets: np.ndarray, ks: Sequence[int] = (20, 50), ndcg_ks: Sequence[int] = (100,)
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Means over users with at least one target, and the evidence behind them.

    Args:
        scores: ``(U, I)``; history, targets: boolean ``(U, I)``.

    Returns:
        ``{"recall@20", "ndcg@100", "item_coverage@100" ...}``, and arrays ``top`` ``(U', K)`` and the metrics of each user.

    Raises:
        ValueError: a score that is not finite, or no user with a target.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    kept = targets.astype(bool).any(axis=1)
    if not kept.any():
        raise ValueError("no user has a held-out item")
    largest = max(*ks, *ndcg_ks)
    top = top_items(scores[kept], history[kept], min(largest, scores.shape[1]))
    users = per_user(top, targets[kept], ks, ndcg_ks)
    means = {name: float(values.mean()) for name, values in users.items()}
    for k in ndcg_ks:
        means[f"item_coverage@{k}"] = len(np.unique(top[:, :k])) / scores.shape[1]
    return means, {"top": top.astype(np.int32), **{name: values.astype(np.float32) for name, values in users.items()}}
