"""Generators in the latents of a tokenizer, of which latents, reconstructions and samples are looked at side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class LatentGenerator(ABC):
    """Encodes images to latents at places, gives them back, and draws new images by way of new latents.

    Batches hold the class of each image, which the generator of latents may know and the tokenizer must not.
    """

    @abstractmethod
    def latents(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` of images; where they are random their means."""

    @abstractmethod
    def reconstructed(self, x: Tensor) -> Tensor:
        """Images ``(B, *shape)`` in data units, of :meth:`latents`."""

    @abstractmethod
    def drawn(self, y: Tensor, steps: int) -> Tensor:
        """An image ``(n, *shape)`` in data units for each class of ``y`` (n,), in ``steps`` evaluations of the generator's network."""


METRICS = (
    Convention("rfd", "Frechet distance of reconstructions", "", "lower", -1e-3, note="of all test images from these; network in the key"),
    Convention("fd_log", "logarithm of the Frechet distance of samples", "", "lower", note="differences are ratios; same features"),
)
