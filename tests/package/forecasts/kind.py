"""Forecasts of a number with their uncertainty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard import Convention, DataSpec

if TYPE_CHECKING:
    from torch import Tensor


class Forecaster(ABC):
    """Predicts a Gaussian."""

    @abstractmethod
    def forecast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(B,)``, of what follows the values ``(B, lags)``."""


@dataclass(frozen=True, kw_only=True)
class SeriesSpec(DataSpec):
    """Attributes: lags: number of values that are known."""

    lags: int


METRICS = (Convention("wave_crps", "continuous ranked probability score", "", "lower", 0.0, note="closed form of a Gaussian"),)
