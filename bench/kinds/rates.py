"""Learning curves of autoencoders: how errors fall with the number of training examples, and rise with the share of outliers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """One autoencoder of a run.

    Attributes:
        world: the name of the law that its data are from.
        ambient: the dimension D of an example.
        latent: the dimension of its code.
        n: training examples; 0: new ones at each step.
        outliers: share of them that are none of the law's.
        start: fits of one law and dimension with the same start begin with the same weights, and all with the same start draw their
            batches by the same random numbers, so that a difference of two is that of their examples; None: it shares neither.
    """

    world: str
    ambient: int
    latent: int
    n: int
    outliers: float = 0.0
    start: int | None = None

    @property
    def key(self) -> str:
        """The group of fits that it belongs to, which batches and tensors hold together."""
        return f"x{self.ambient}"


@dataclass(frozen=True, kw_only=True)
class FitsSpec(DataSpec):
    """An autoencoder for each of ``fits``. Batches hold a tensor ``(F, B, D)`` for the F fits of each dimension D, in their order."""

    fits: tuple[Fit, ...]

    def groups(self) -> dict[str, tuple[Fit, ...]]:
        """The fits by the key of their tensor."""
        return {key: tuple(fit for fit in self.fits if fit.key == key) for key in dict.fromkeys(fit.key for fit in self.fits)}


class WassersteinFits(ABC):
    """An autoencoder for each fit of a :class:`FitsSpec`, whose codes should follow N(0, I).

    Codes of a group have the largest ``latent`` of its fits as dimension Z; what is beyond a fit's own is 0.
    """

    @abstractmethod
    def encode(self, key: str, x: Tensor) -> Tensor:
        """Examples ``(F, N, D)`` of the group ``key`` to codes ``(F, N, Z)``."""

    @abstractmethod
    def decode(self, key: str, z: Tensor) -> Tensor:
        """And back."""

    @abstractmethod
    def draw(self, key: str, n: int) -> Tensor:
        """``n`` new examples of each fit, ``(F, n, D)``."""


_LEAST = "least of the worlds"
_ROOT = "root of what its square is above that with unlimited data; same start and steps; floor 1/N"
_RATE = "minus the slope of its logarithm against that of the number of training examples"
METRICS = (
    Convention("risk", "squared error of the reconstruction", "", "lower", 0.0, note="summed over dimensions, mean over test examples"),
    Convention("excess_risk", "risk above that with unlimited data", "", "lower", note="same start and steps; new examples at each step"),
    Convention("excess_noise", "standard error over starts of the excess risk with the most examples", "", "lower", 0.0),
    Convention("excess_signal", "excess risk with the most examples in units of its standard error", "", "higher", note=_LEAST),
    share("excess_falls", "share of steps to more examples at which the excess risk falls", "higher"),
    Convention("risk_rate", "rate of the excess risk", "", "higher", note=_RATE),
    Convention("risk_rate_margin", "smallest rate above 1 / (2 + d)", "", "higher", note="Chakraborty and Bartlett 2024; over the worlds"),
    Convention("risk_rate_fall", "rate with one intrinsic dimension minus that with eight", "", "none"),
    Convention("risk_rate_trend", "Kendall's tau of the rate and the intrinsic dimension", "", "none", -1.0, 1.0),
    Convention("risk_rate_shift", "rate with 256 ambient dimensions minus that with 16", "", "none"),
    Convention("sw1", "sliced Wasserstein distance of samples", "", "lower", 0.0, note="to clean test examples; times the root of D"),
    Convention("sw1_rate", "rate of the samples' sliced Wasserstein distance", "", "higher", note=_RATE),
    Convention(
        "code_mmd", "discrepancy of codes from N(0, I)", "", "lower", 0.0, note="root; Gaussian kernels of widths .5, 1, 2; floor 1/N"
    ),
    Convention("sample_mmd", "discrepancy of samples from clean test examples", "", "lower", 0.0, note="as of codes"),
    Convention("code_excess", "excess of the codes' discrepancy", "", "lower", 0.0, note=_ROOT),
    Convention("code_excess_rate", "rate of the excess of the codes' discrepancy", "", "higher", note=_RATE),
    Convention("code_excess_signal", "that excess with the most examples in units of its standard error", "", "higher", note=_LEAST),
    Convention("sample_excess", "excess of the samples' discrepancy", "", "lower", 0.0, note=_ROOT),
    Convention("sample_excess_rate", "rate of the excess of the samples' discrepancy", "", "higher", note=_RATE),
    Convention("sample_excess_signal", "that excess with the most examples in units of its standard error", "", "higher", note=_LEAST),
    Convention("sw1_excess", "excess of the samples' sliced Wasserstein distance", "", "lower", 0.0, note="above that with unlimited data"),
    Convention("sw1_excess_rate", "rate of the excess of the samples' sliced Wasserstein distance", "", "higher", note=_RATE),
    Convention("sw1_excess_signal", "that excess with the most examples in units of its standard error", "", "higher", note=_LEAST),
    Convention("outlier_sw1", "samples' sliced Wasserstein distance by the share of outliers", "", "lower", 0.0),
    Convention("outlier_slope", "rise of the samples' distance with the share of outliers", "", "lower", note="least squares"),
    Convention("outlier_trend", "Kendall's tau of the samples' distance and the share of outliers", "", "none", -1.0, 1.0),
    share("outlier_linear", "share of that distance's variance that a line in the share of outliers explains", "none"),
)
