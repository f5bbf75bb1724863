"""Links of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import share

if TYPE_CHECKING:
    from torch import Tensor


class LinkPredictor(ABC):
    """Scores pairs of nodes of the training graph."""

    @abstractmethod
    def link_scores(self, pairs: Tensor) -> Tensor:
        """Scores ``(P,)`` of node pairs ``(P, 2)``; higher means an edge is more likely."""


@dataclass(frozen=True, kw_only=True)
class GraphSpec(DataSpec):
    """Attributes: n_nodes: number of nodes; ``shape`` is that of a node's features."""

    n_nodes: int


METRICS = (
    share("auc", "area under the ROC curve of links", "higher", "edges positive; ties count half"),
    share("ap", "average precision of links", "higher", "edges positive"),
)
