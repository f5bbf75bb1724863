"""Anomalies in images: whether an image has one, and where it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class AnomalyScorer(ABC):
    """Scores how much of an anomaly an image has."""

    @abstractmethod
    def anomaly_score(self, x: Tensor) -> Tensor:
        """``(B,)``; higher means more of an anomaly."""


class AnomalyMap(AnomalyScorer):
    """Says of each pixel how much it has to do with the score."""

    @abstractmethod
    def anomaly_map(self, x: Tensor) -> Tensor:
        """``(B, H, W)``; higher means more, and what is not above 0 speaks of no anomaly."""


@dataclass(frozen=True, kw_only=True)
class AnomalySpec(LikelihoodSpec):
    """Training images have labels ``y``, 1 for those with an anomaly; a task may have none of these.

    Attributes:
        network: of the board (``conv-16-32-64``).
    """

    network: str


METRICS = (
    Convention("size_gap", "AUROC of large anomalies less that of small ones", "", "lower", -1.0, 1.0),
    share("detection_rate", "anomalies flagged", "higher", "at the threshold with the largest G-mean on validation images"),
    share("false_alarms", "normal images flagged", "lower", "ditto"),
    share("alarm_precision", "anomalies among flagged images", "higher", "ditto; 1 where none is flagged"),
    share("pixel_auroc", "area under the ROC curve of pixels", "higher", "those of the mask positive; mean over anomalous images"),
    share("max_iou", "overlap of heat map and mask", "higher", "largest over 50 thresholds of the map; mean over flagged anomalies"),
    share("wrong_reason", "flagged anomalies without overlap", "lower", "largest intersection over union below 0.1"),
    share("ceiling_iou", "overlap that a map's regions of one value allow", "none", "of their best union; mean over flagged anomalies"),
    Convention("silhouette", "silhouette of normal and anomalous codes", "", "higher", -1.0, 1.0, note="Euclidean (Rousseeuw 1987)"),
)
