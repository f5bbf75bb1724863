"""Classification with corrupted training labels, beside the protocol of :mod:`elboard.bench.kinds.classification`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class SampleSelector(ABC):
    """Learns from a part of the training examples, which it selects itself."""

    @abstractmethod
    def selection(self) -> Tensor:
        """Boolean ``(n_train,)``: the training examples that were selected when they were last seen."""


class PrefixClassifier(ABC):
    """Classifies by the first of its features alone, and can by any number of them."""

    @abstractmethod
    def chosen_prefix(self) -> int:
        """The number of features that it predicts with."""

    @abstractmethod
    def prefix_accuracies(self, x: Tensor, y: Tensor) -> Tensor:
        """Accuracy with each number of features from 1 on, ``(D,)``."""


class NoiseDraws(ABC):
    """A population of classifiers of the same images, one for each draw of the label noise."""

    @abstractmethod
    def draws(self, x: Tensor) -> Tensor:
        """Probabilities ``(R, B, C)``, R of the data's draws."""


@dataclass(frozen=True, kw_only=True)
class RedrawnSpec(ClassSpec):
    """Batches hold ``labels`` (B, ``draws``), independent corruptions of each true label."""

    draws: int


_OF = "mean over draws of the label noise"
METRICS = (
    share("accuracy_last", "clean test accuracy of the last epoch", "higher"),
    share("accuracy_best", "clean test accuracy at the epoch that noisy validation selects", "higher"),
    share("accuracy_peak", "largest clean test accuracy of any epoch", "higher", "an oracle: it selects on the test set"),
    share("accuracy_last10", "mean clean test accuracy of the last ten epochs", "higher"),
    share("memorised", "corrupted training labels that are predicted", "lower"),
    share("label_precision", "clean labels among those selected", "higher"),
    share("prefix_share", "features that predict, of all", "none"),
    share(
        "prefix_needed", "fewest features that lose a point of accuracy at most, of all", "none", "to those that predict; clean test images"
    ),
    share(
        "prefix_defect",
        "accuracy by which the curve over prefixes is not unimodal, or not flat behind the chosen one",
        "lower",
        "the smaller of the two; clean test images",
    ),
    Convention("draw_brier", "Brier score of one classifier", "", "lower", 0.0, 2.0, note=_OF),
    Convention(
        "draw_variance", "variance of predicted probabilities over draws of the label noise", "", "lower", 0.0, 1.0, note="unbiased"
    ),
    Convention(
        "draw_bias", "squared distance of the mean prediction from the true class", "", "lower", -1.0, 2.0, note="Brier less variance"
    ),
)
