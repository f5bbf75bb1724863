"""Probabilities of classes: how often they are right, and how well they are calibrated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class Predictor(ABC):
    """Has class probabilities, its own or, as a detector on top of a classifier, those of the run that it starts from."""

    @abstractmethod
    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(S, B, C)``; S = n_samples draws of the weights or masks, S = 1 for a deterministic method."""


class Classifier(Predictor):
    """Learns to predict class probabilities."""


class FinishedClassifier(Predictor):
    """A classifier of another task as it is, on which nothing is trained."""

    @property
    @abstractmethod
    def finished(self) -> Predictor:
        """The classifier itself, with all else that it offers."""


@dataclass(frozen=True, kw_only=True)
class ClassSpec(DataSpec):
    """Classes, and the expected share of training labels that are wrong where a task says it."""

    n_classes: int
    noise_rate: float = 0.0


METRICS = (
    share("accuracy", "accuracy", "higher", "of the most probable class; the lowest index among ties"),
    Convention("class_nll", "negative log likelihood of the class", "nats", "lower", 0.0, note="probabilities floored at 1e-12"),
    Convention("brier", "Brier score", "", "lower", 0.0, 2.0, note="sum over classes of squared differences, mean over examples"),
    share("ece", "expected calibration error", "lower", "15 equal-width bins, right-closed"),
    share("adaptive_ece", "adaptive calibration error", "lower", "15 bins of equal mass; equal confidences share their mean hit"),
    share("classwise_ece", "classwise calibration error", "lower", "mean over classes, 15 equal-width bins, right-closed"),
    Convention("entropy", "predictive entropy", "nats", "none", 0.0),
)
