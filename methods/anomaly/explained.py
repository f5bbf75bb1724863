"""What explanations of a detector share: scores are the detector's, and the map says which segments its error is due to.

    f(x) = sum_p,c (x - x^)^2,   v(z) = f(image with the segments of z, and a replacement elsewhere),   map = the weight of each pixel's
    segment

f is what the paper's repository explains: the score, the largest difference of a pixel, is another function. The replacement is the mean
colour of each segment (S1 of the paper) or the image under a blur (S2). Masks are drawn with the run's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from elboard.bench.kinds.anomaly import AnomalyMap
from elboard.bench.method import Method
from elboard.bench.options import Options, Range
from elboard.bench.task import Data
from elboard.methods.parts import attributions

CHUNK = 250  # masked images that the detector sees at once


class Explained(Method, AnomalyMap):
    """A subclass gives the weights of segments."""

    @dataclass(kw_only=True)
    class Config(Options):
        segments: Annotated[int, Range(4)] = 40  # about so many
        fill: Literal["mean", "blur"] = "mean"

    def fit(self, data: Data, training: Any) -> None:
        """Nothing is trained."""

    def anomaly_score(self, x: Tensor) -> Tensor:
        return self.base.anomaly_score(x)

    def error(self, x: Tensor) -> Tensor:
        """f, ``(B,)``."""
        return torch.cat([(part - self.base.reconstruct(part)).square().sum((1, 2, 3)) for part in x.split(CHUNK)])

    def values(self, x: Tensor, label: Tensor, masks: Tensor) -> Tensor:
        """v of masks ``(N, M)`` of one image ``(C, H, W)``, ``(N,)``."""
        instead = attributions.replacement(x, label, self.config.fill)
        return torch.cat([self.error(attributions.masked(x, label, instead, part)) for part in masks.split(CHUNK)])

    def weights(self, x: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        """Of the segments ``label`` (H, W) of an image ``(C, H, W)``, ``(M,)``."""
        raise NotImplementedError

    def anomaly_map(self, x: Tensor) -> Tensor:
        return torch.stack([self._map(one) for one in x])

    @torch.no_grad()
    def _map(self, x: Tensor) -> Tensor:
        label = attributions.segments(x, self.config.segments)
        generator = torch.Generator().manual_seed(self.seed)
        return self.weights(x, label, generator).to(x)[label]
