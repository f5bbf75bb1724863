"""Laws that should be a posterior: how near draws come to it, and of Markov chains how fast they mix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class MarkovChain(ABC):
    """Learns by a chain of positions, of which it remembers some coordinates."""

    @abstractmethod
    def trace(self) -> Tensor:
        """Positions ``(T, C, K)`` of C chains after burn-in, in their order, of K coordinates; T = 0 before it."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Steps between two of them."""


class PosteriorSampler(ABC):
    """Learns to sample a density that it is given, unnormalised, as the data's ``oracle``: ``log_prob(z)``, ``(N, D)`` to ``(N,)``."""

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """``n`` draws ``(n, D)`` of the law that it has found."""


@dataclass(frozen=True, kw_only=True)
class TargetSpec(DataSpec):
    """A density of vectors of the length ``shape[0]``, and no examples: its logarithm counts once (``n_train`` is 1)."""


METRICS = (
    Convention("iat", "integrated autocorrelation time", "steps", "lower", 0.0, note="1 + 2 sum rho_t, Sokal's window of 5"),
    Convention("mean_error", "error of the mean", "", "lower", 0.0, note="in standard deviations; largest over coordinates"),
    Convention("variance_error", "relative error of the marginal variance", "", "lower", 0.0, note="largest over coordinates"),
    Convention("mean_field_error", "that against 1 / Lambda_ii, Lambda the posterior's precision", "", "lower", 0.0),
    Convention("correlation", "correlation of the first two coordinates", "", "none", -1.0, 1.0),
    Convention("marginal_ratio", "marginal variance over the posterior's", "", "none", 0.0, note="largest over coordinates"),
    Convention("chain_correlation", "absolute correlation of the chain's own positions", "", "lower", 0.0, 1.0, note="of two coordinates"),
    Convention("spread_ratio", "standard deviation of the function over the reference's", "", "none", 0.0, note="of means over inputs"),
    Convention("spread_error", "absolute difference of these over the reference's", "", "lower", 0.0, note="of means over inputs"),
    Convention(
        "marginal_w1", "Wasserstein-1 distance of the function's marginals", "", "lower", 0.0, note="standardised; mean over inputs"
    ),
)
