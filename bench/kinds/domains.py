"""Classification of images of several domains, of which some have labels in training: what carries over to the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.conventions import share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DomainSpec(ClassSpec):
    """Batches hold ``x``, ``y`` (B,) and ``domain`` (B,), with a class -1 of images without a label.

    Attributes:
        domains: how many the training images are of; the first ``sources`` of them have labels.
    """

    domains: int
    sources: int


class DomainPredictor(ABC):
    """Classifies images of domains that it has seen no label of, by a code of each image."""

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """What is classified, ``(B, Z)``; where it is random its mean."""

    @abstractmethod
    def probabilities(self, x: Tensor) -> Tensor:
        """Of classes, ``(B, C)``."""


_OF = "by a vote of the 15 nearest codes of other images, in units of each dimension's deviation; the lowest domain among ties"
METRICS = (
    share("domain_accuracy", "accuracy with which codes tell their domain", "lower", _OF),
    share("domain_gap", "that accuracy above chance, as a share of what is above chance", "lower", "0 where it is below chance"),
)
