"""Top-K ranking for users with a history and held-out targets (Liang et al. 2018, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k smallest of each row of ``values`` (N, M), smallest first, ``(N, min(k, M))``; the lower one among equals.

    What a stable sort begins with, by a partial one.
    """
    k = min(k, values.shape[1])
    found = np.argpartition(values, k - 1, axis=1)[:, :k]
    found.sort(axis=1)  # equal values in the order of their positions
    least = np.take_along_axis(values, found, axis=1)
    first = np.take_along_axis(found, np.argsort(least, axis=1, kind="stable"), axis=1)
    tied = (values <= least.max(axis=1, keepdims=True)).sum(axis=1) > k  # of equal values some are beyond the end, any of them
    first[tied] = np.argsort(values[tied], axis=1, kind="stable")[:, :k]
    return first


def top_items(scores: np.ndarray, history: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each user outside the history, ``(U, k)``, best first; the lower index among equal scores.

    Raises ValueError for a score that is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return smallest(np.where(history.astype(bool), np.inf, -np.asarray(scores, dtype=np.float64)), k)


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
