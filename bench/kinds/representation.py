"""Codes of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Reconstructor(ABC):
    """Gives each example back from its code."""

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """``(B, *shape)`` in data units; of a code that is random from its mean."""


class Encoder(ABC):
    """Has one code an example."""

    @abstractmethod
    def represent(self, x: Tensor) -> Tensor:
        """The code of each example, ``(B, latent)``; where it is random its mean."""


class GaussianPosterior(Encoder):
    """Has a diagonal Gaussian over the code of each example."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``(B, latent)``."""

    def represent(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]
