"""Likelihood corrected by the complexity of the input (Serra, Alvarez, Gomez, Slizovskaia, Nunez and Luque 2020).

    S(x) = -log_2 p(x) - C(x),   C(x) = bits of x, compressed without loss

A compressor is a universal model that was trained on nothing, so that S is the log likelihood ratio of it and the model: both in bits, a
model's nats divided by ln 2. Images of little detail have a high likelihood and few bits, which cancel.

The compressor is PNG, of 1 bit a pixel where pixels are binary and of 8 where they are grey; its 60 to 70 bytes of header are the same for
all images and change no ranking.

Differences from the paper: bits of the image instead of a dimension; it takes the best of PNG, JPEG2000 and FLIF, and a Glow or a
PixelCNN++ as the model.
"""

from __future__ import annotations

import io
import math

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.methods.ood.densities import DensityScore

CARD = MethodCard(
    name="input-complexity",
    title="Likelihood against the bits of the compressed image",
    family="ood",
    home="ood/fashion-mnist-generative",
    cite="Serra et al. 2020",
    bases={"model": {"method": "bottom-up-hvae"}},
    defaults="convention",
)


def png_bits(x: Tensor, levels: int) -> Tensor:
    """Bits of each image as a PNG, ``(B,)``, of x ``(B, 1, H, W)`` with level / (levels - 1), at most 256 levels."""
    from PIL import Image

    grey = (x[:, 0] * (levels - 1)).round().to(torch.uint8).cpu().numpy()
    sizes = []
    for image in grey:
        file, picture = io.BytesIO(), Image.fromarray(image * 255 if levels == 2 else image)
        (picture.convert("1") if levels == 2 else picture).save(file, "png", optimize=True)
        sizes.append(8 * len(file.getvalue()))
    return torch.tensor(sizes, dtype=torch.float32, device=x.device)


class InputComplexity(DensityScore):
    """Nothing is learned. Raises UserError for what is no grey or binary image."""

    def bits(self, x: Tensor) -> Tensor:
        """C(x), ``(B,)``."""
        if x.ndim != 4 or x.shape[1] != 1 or self.spec.likelihood == "gaussian":
            raise UserError(f"input-complexity compresses images of one channel, not examples of shape {tuple(x.shape[1:])}")
        return png_bits(x, 2 if self.spec.likelihood == "bernoulli" else self.spec.levels)

    def ood_score(self, x: Tensor) -> Tensor:
        return -self.log_p(x) / math.log(2) - self.bits(x)
