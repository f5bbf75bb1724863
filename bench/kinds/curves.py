"""Variational regression by many networks: how fast their risk falls with the number of examples, and how well a bound selects one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CurveFit:
    """One network of a run.

    Attributes:
        law: the name of the function that its examples are of.
        n: training examples.
        width: units of each of its hidden layers.
    """

    law: str
    n: int
    width: int


@dataclass(frozen=True, kw_only=True)
class CurvesSpec(DataSpec):
    """A network for each of ``fits``, of functions of one variable in [-1, 1], whose values have normal noise of the known standard
    deviation ``noise``. Batches hold ``x`` and ``y``, both ``(F, B)`` for F fits."""

    fits: tuple[CurveFit, ...]
    noise: float


class VariationalCurves(ABC):
    """A law of functions for each fit of a :class:`CurvesSpec`, found by maximising

    ELBO = -alpha / (2 noise^2) E_q sum_i (y_i - f(x_i))^2 - KL(q || pi).
    """

    @abstractmethod
    def functions(self, x: Tensor, draws: int) -> Tensor:
        """Draws of q at the inputs ``(F, N)``: ``(draws, F, N)``."""

    @abstractmethod
    def divergence(self) -> Tensor:
        """KL(q || pi), ``(F,)``."""

    @property
    @abstractmethod
    def alpha(self) -> float:
        """The exponent of the likelihood, at most 1."""


_RULE = "mean squared distance from the true function, over draws of the posterior and inputs; widths by the rule for the smoothness"
METRICS = (
    Convention("posterior_risk", "expected squared distance of the posterior from the truth", "", "lower", 0.0, note=_RULE),
    Convention(
        "posterior_rate", "minus the slope of its logarithm against that of n", "", "higher", note="-elbo: of widths that the ELBO selects"
    ),
    Convention("posterior_rate_gain", "rate for the smooth function minus that for the rough one", "", "none"),
    Convention("posterior_width", "width that the ELBO selects", "", "none", 1.0, note="geometric mean over n"),
    Convention(
        "selection_ratio",
        "risk of the selected width over the least of all widths",
        "",
        "lower",
        1.0,
        note="geometric mean over laws and n",
    ),
    Convention("curve_error", "squared error of draws of the posterior", "", "lower", 0.0, note="of noisy examples"),
    Convention("selection_gain", "risk of the width with the least training error over that of the ELBO's", "", "none", 0.0),
)
