"""Items for users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import share

if TYPE_CHECKING:
    from torch import Tensor


class Recommender(ABC):
    """Ranks items for users given their history."""

    @abstractmethod
    def scores(self, history: Tensor) -> Tensor:
        """Scores ``(U, I)`` for dense 0/1 click rows ``(U, I)``; the task masks the items of the history itself."""


METRICS = (
    share("ndcg", "normalised discounted cumulative gain", "higher", "ideal truncated at K; ties by item index"),
    share("recall", "recall", "higher", "denominator min(K, targets)"),
    share("item_coverage", "share of items in any top-K list", "higher"),
)
