"""Networks of many sizes from one training: classifiers that give a smaller network on demand, and linear maps of all ranks at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class SizedSpec(ClassSpec):
    """``sizes``: the numbers of parameters that networks are asked for, ascending; the last one is that of the board's dense network."""

    sizes: tuple[int, ...]


class CompressibleClassifier(ABC):
    """A classifier that gives networks of several sizes without further training.

    No :class:`~elboard.bench.kinds.classification.Classifier`, as some are built for a :class:`SizedSpec` alone.
    """

    @abstractmethod
    def compressed(self, parameters: int) -> nn.Module:
        """A network from inputs ``(B, ...)`` to logits ``(B, C)``, ready to predict, with at most so many parameters, all of which are
        among those of the module; where there is none, the smallest."""


class RankedMaps(ABC):
    """Learns W linear maps y = A x at once, each at all ranks; batches hold ``x`` and ``y``, both (B, W, D), and ``shape`` is (W, D)."""

    @abstractmethod
    def products(self) -> Tensor:
        """The maps ``(W, D, D, D)`` that its first b = 1..D components make, by map and b."""


METRICS = (
    share(
        "fitting_accuracy",
        "mean accuracy over the sizes below that of the dense network",
        "higher",
        "a network that is larger than was asked for counts 0",
    ),
    Convention(
        "parameter_share",
        "parameters of the network that was given, of those of the dense one",
        "",
        "none",
        0.0,
        note="slice: size asked for",
    ),
    Convention(
        "truncation_error",
        "relative distance of the map of b components from the best one of rank b",
        "",
        "lower",
        0.0,
        note="Frobenius norms, largest over b; without a slice over maps too",
    ),
    Convention("rank_mse", "mean squared error of the maps of all ranks", "", "lower", 0.0, note="mean over ranks, maps and coordinates"),
)
