"""Decoders that cannot map different codes to nearly the same output."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.kinds.collapse import PosteriorGrid
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class InverseLipschitz(PosteriorGrid):
    """Has decoders f with ``|f(z) - f(z')| >= bound |z - z'|``.

    Attributes:
        bound: what the construction guarantees, the same for each model; 0: nothing.
    """

    bound: float

    @abstractmethod
    def outputs(self, z: Tensor) -> Tensor:
        """Natural parameters f(z) of each model, ``(G, N, Z)`` -> ``(G, N, D)``."""


METRICS = (
    Convention("inverse_lipschitz", "least |f(z) - f(z')| / |z - z'|", "", "none", 0.0, note="over pairs from the prior and close to it"),
    Convention("lipschitz_slack", "least |f(z) - f(z')| / |z - z'| minus the bound", "", "none", note="least of all models"),
)
