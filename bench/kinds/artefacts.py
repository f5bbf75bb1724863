"""What is wrong with reconstructions of image autoencoders, in numbers: one for each kind of artefact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class ImageAutoencoder(ABC):
    """Has a code with places, and a decoder whose maps can be looked at."""

    @abstractmethod
    def latent(self, x: Tensor) -> Tensor:
        """The code's mean, ``(B, c, h, w)``."""

    @abstractmethod
    def decoded(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images ``(B, C, H, W)`` of codes, and the decoder's maps ``(B, *, *, *)`` before each normalisation."""


METRICS = (
    Convention("psnr", "peak signal-to-noise ratio", "dB", "higher", note="peak 1, mean over images"),
    Convention("ssim", "structural similarity", "", "higher", -1.0, 1.0, note="window of 11 x 11, sigma 1.5 (Wang et al. 2004)"),
    Convention("colour_shift", "shift of an image's mean colour", "", "lower", 0.0, note="absolute, mean over channels and images"),
    Convention("grid_energy", "residual at the decoder's grid", "", "lower", 0.0, note="power at its frequencies over that beside them"),
    Convention("high_band", "energy of fine detail that is left", "", "none", 0.0, note="above a quarter of a cycle a pixel; 1: all"),
    Convention("corner_error", "error in the corners over that in the centre", "", "lower", 0.0, note="RMSE; 1: the same"),
    Convention("spikes", "peaks of decoder maps", "", "lower", 1.0, note="norm over channels, largest over median, of the worst map"),
    Convention("latent_change", "largest change of a code against the run that is started from", "", "lower", 0.0),
)
