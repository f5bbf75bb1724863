"""Paths from data to noise of a known density: solvers of their flow, and bounds of its likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor

# (x, alpha, sigma), x of (B, D) and factors that broadcast against it, to the gradient (B, D) of the log density of alpha x_0 + sigma eps,
# with x_0 from the known density and eps ~ N(0, I)
Score = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class KnownSpec(DataSpec):
    """A density whose noised versions have a known score, and no examples; data are of about unit scale. The data's ``oracle`` is a
    ``Score``."""


class FlowSolver(ABC):
    """Takes noise to data along the probability flow of a path x_t = alpha_t x_0 + sigma_t eps.

    Attributes:
        ends: the times (first, last) between which it solves, first the later one.
        calls: evaluations of the score a step.
    """

    ends: tuple[float, float]
    calls: int

    @abstractmethod
    def start(self, x: Tensor, noise: Tensor) -> Tensor:
        """x_t at the first time, of data ``x`` (B, D) and ``noise``."""

    @abstractmethod
    def slope(self, score: Score, x: Tensor, t: float) -> Tensor:
        """dx/dt (B, D) of the flow at time ``t``."""

    @abstractmethod
    def solve(self, score: Score, x: Tensor, steps: int) -> Tensor:
        """x at the last time, from ``x`` (B, D) at the first one in ``steps`` steps."""


class ExactBound(ABC):
    """The evidence lower bound of a diffusion in T steps whose score is exact."""

    @abstractmethod
    def bound(self, score: Score, x: Tensor, steps: int) -> Tensor:
        """One-sample bound (B,) on log p of ``x`` (B, D), in nats: a draw of x_t for each step."""

    @abstractmethod
    def forms(self, score: Score, x: Tensor, steps: int) -> Tensor:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) (B, F, T - 1), of x_t drawn once, in each of F forms that are equal."""

    @abstractmethod
    def single(self, score: Score, x: Tensor, steps: int) -> dict[str, Tensor]:
        """Bounds (B,) from one step drawn uniformly and weighted by how many there are, by the form of the bound."""


METRICS = (
    Convention("terminal_error", "distance from the exact end of the flow", "", "lower", 0.0, note="root mean square over points"),
    Convention("error_ratio", "terminal error over that with twice the steps", "", "none", 0.0, note="2 to the power of the order"),
    Convention("bound_gap", "log density minus the bound", "nats", "lower", note="mean over examples; one draw a step"),
    Convention("bound_trend", "Spearman correlation of the gap with the number of steps", "", "none", -1.0, 1.0),
    Convention("form_error", "largest relative difference of the forms of a term", "", "lower", 0.0, note="in double precision"),
    Convention("bound_sd", "standard deviation of the bound from one step", "nats", "lower", 0.0, note="within examples, mean over them"),
    Convention("bound_sd_ratio", "that of terms of three noised neighbours over that of terms of one", "", "none", 0.0),
)
