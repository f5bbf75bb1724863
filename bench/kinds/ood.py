"""Out-of-distribution detection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import share

if TYPE_CHECKING:
    from torch import Tensor


class OODScorer(ABC):
    """Scores how far out of distribution an example is."""

    @abstractmethod
    def ood_score(self, x: Tensor) -> Tensor:
        """``(B,)``; higher means more out of distribution."""


class FeatureScorer(OODScorer):
    """Scores by the features and logits of one classifier that gives one answer an image: the classifier itself, or what starts from it.

    What a task needs whose networks take long to train: a base run a seed, and a pass of its network for all detectors.
    """


class OutlierOracle(OODScorer):
    """Can be told the very images that are to be detected, which no method may see; its card says so (``oracle``).

    A task tells it, of each set by itself; untold it scores like any other.
    """

    @abstractmethod
    def told(self, outside: Tensor) -> OODScorer:
        """What scores, from then on, images against ``outside``, the out-of-distribution images of one set ``(N, ...)`` on its device."""


@dataclass(frozen=True, kw_only=True)
class OODSpec(LikelihoodSpec, ClassSpec):
    """Of the in-distribution images, for classifiers and for models of their likelihood."""


METRICS = (
    share("auroc", "area under the ROC curve", "higher", "OOD positive; ties count half"),
    share("aupr_in", "average precision, ID positive", "higher", "of the negated scores"),
    share("aupr_out", "average precision, OOD positive", "higher"),
    share("fpr95_ood_positive", "ID flagged at 95 % OOD detected", "lower"),
    share("fpr80_ood_positive", "ID flagged at 80 % OOD detected", "lower", "the FPR80 of Havtorn et al. 2021"),
    share("fpr95_id_positive", "OOD accepted at 95 % ID accepted", "lower", "the FPR95 of ReAct and OpenOOD"),
)
