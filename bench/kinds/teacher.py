"""Classification by a known teacher nu(y | x): what a finite sample of labels costs, and what one of inputs does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.conventions import Convention


@dataclass(frozen=True, kw_only=True)
class TaughtSpec(ClassSpec):
    """Batches hold ``labels`` (B, ``labels``), independent draws of the teacher for each input; ``y`` is the first of them."""

    labels: int = 1


class ManyLabels(ABC):
    """Can learn from several labels of an input."""

    @abstractmethod
    def labels_learned(self) -> int:
        """How many of an input's labels it learns from: the first ones."""


_OF = "nu the teacher; the averaged predictive"
METRICS = (
    Convention("expected_nll", "expected negative log likelihood of the teacher's labels", "nats", "lower", 0.0, note=_OF),
    Convention("label_gap", "expected NLL at training inputs above that of the labels learned from", "nats", "lower", note=_OF),
    Convention("input_gap", "expected NLL at test inputs above that at training inputs", "nats", "lower", note=_OF),
    Convention("label_gap_log", "logarithm of the gap of labels", "", "lower", note="gaps below 1e-3 count as that"),
    Convention(
        "gap_ratio_log",
        "logarithm of the gap of inputs over that of labels",
        "",
        "none",
        note="of excess NLL; gaps below 1e-3 count as that",
    ),
)
