"""Codes that are entries of a codebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class DiscreteCodes(ABC):
    """Has for each position of an example's code the number of an entry."""

    n_codes: int  # entries of the codebook

    @abstractmethod
    def indices(self, x: Tensor) -> Tensor:
        """Numbers from 0 to ``n_codes`` - 1, ``(B, positions)``."""


METRICS = (
    Convention(
        "code_perplexity",
        "perplexity of the codes",
        "codes",
        "none",
        1.0,
        note="exponential of the entropy of how often each is used, over examples and positions together",
        counted=True,
    ),
)
