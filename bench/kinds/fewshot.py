"""Few-shot classification: classes that training has not seen, each by a few examples; in episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EpisodeSpec(DataSpec):
    """A batch holds M episodes of ``way`` classes by class: ``support`` (M, way, shot, ...) and ``query`` (M, way, queries, ...).

    Attributes:
        n_train: images that an epoch shows.
        n_classes: classes that training episodes are drawn from.
        way, shot, queries: of a training episode, classes, and images of each in the support and query set.
    """

    n_classes: int
    way: int
    shot: int
    queries: int


class FewShot(ABC):
    """Classifies queries by a support set of classes that it has never seen."""

    @abstractmethod
    def class_log_probabilities(self, support: Tensor, query: Tensor) -> Tensor:
        """Log-probabilities of classes, ``(E, N, W)``.

        Args:
            support: of E episodes K images of each of W classes, ``(E, W, K, ...)``; K need not be the one of training.
            query: N images of each episode in any order, ``(E, N, ...)``.
        """


METRICS = (
    Convention(
        "episode_interval",
        "half-width of the 95 % interval of the accuracy over episodes",
        "",
        "none",
        0.0,
        note="1.96 standard errors of the mean of episodes' accuracies: of the episodes drawn, not of training",
    ),
)
