"""Codes on manifolds: whether an autoencoder's code has the shape of what generated its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class ManifoldCode(ABC):
    """Has a code per example in a space with a topology, and a bound on the evidence, all values in nats per example."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """The code's mean as a vector ``(B, n)`` of a Euclidean space in which the code space lies."""

    @abstractmethod
    def circles(self, z: Tensor) -> Tensor:
        """Angles ``(B, c)`` of embedded codes on the c circles whose product the code space is; c = 0 where it is none."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z) of embedded codes, ``(B, *shape)``, in data units."""

    @abstractmethod
    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """As of :class:`elboard.bench.kinds.likelihood.LikelihoodModel`; the divergence may be approximate."""


METRICS = (
    share("neighbours", "neighbours kept by the code", "higher", "of the 8 nearest codes those of neighbours on the generating torus"),
    share("faithful", "code without tears and folds", "higher", "1 where torn and folded are at most 0.01 each, else 0"),
    share("torn", "torn steps", "lower", "steps between neighbours whose codes are further apart than 5 times the median step's"),
    share(
        "folded",
        "folded examples",
        "lower",
        "whose code is nearer to one over 2 steps away than the second shortest of its 4 straight steps",
    ),
    Convention("degree", "degree of the map of circles", "", "none", 0.0, note="|det| of winding numbers, 1 of a homeomorphism"),
    share("winds", "code that winds once around its circles", "higher", "1 where the degree is 1, else 0"),
)
