"""Mutual information of pairs, estimated from examples: how far estimates are from what is known, and whether they agree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PairsSpec(DataSpec):
    """Pairs (x, y) of several laws beside each other; batches hold ``x`` (L, B, Dx) and ``y`` (L, B, Dy), of which row i is pair i of each.

    ``shape`` is that of an x, ``(Dx,)``.

    Attributes:
        other: shape of a y, ``(Dy,)``.
        laws: how many there are, L; each is estimated by itself.
    """

    other: tuple[int, ...]
    laws: int


class InformationEstimator(ABC):
    """Estimates the mutual information of the pairs of each law of a :class:`PairsSpec`."""

    @abstractmethod
    def estimate(self, x: Tensor, y: Tensor) -> Tensor:
        """Nats ``(L,)`` from one batch of pairs ``(L, B, Dx)`` and ``(L, B, Dy)``, B at least 2."""


_OF = "over batches of new pairs with the critics that training left; slice: the law"
METRICS = (
    Convention("mi_estimate", "estimate of the mutual information", "nats", "none", note=f"mean {_OF}"),
    Convention("mi_bias", "mean estimate minus the true mutual information", "nats", "none", note=_OF),
    Convention("mi_variance", "variance of the estimates", "nats^2", "lower", 0.0, note=_OF),
    Convention("mi_mse", "mean squared error of the estimates", "nats^2", "lower", 0.0, note=f"bias^2 + variance; {_OF}"),
    Convention("mi_log_mse", "logarithm of the mean squared error", "", "lower", note="mean of the laws' logarithms of mi_mse"),
    Convention("mi_log_variance", "logarithm of the variance of the estimates", "", "lower", note=f"of nats^2; {_OF}"),
    Convention("mi_rmse", "root mean squared error of the estimates", "nats", "lower", 0.0, note="mean of the laws' roots of mi_mse"),
    Convention("mi_ratio", "estimate over another that it should stand in a known ratio to", "", "none", note="denominators at least 0.01"),
    share("mi_falls", "share of steps to more of an image at which the estimate falls", "lower", "by more than 2 % of that of all of it"),
    Convention("independence_error", "size of the estimate of independent pairs over that of identical ones", "", "lower", 0.0),
    Convention("processing_error", "mean distance from 1 of the ratios of data processing", "", "lower", 0.0),
    Convention("additivity_error", "mean distance from 1 of half the ratios of additivity", "", "lower", 0.0),
    Convention("consistency_error", "largest of the four errors of self-consistency", "", "lower", 0.0, note="Song and Ermon 2020"),
)
