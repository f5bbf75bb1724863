"""Random weights of a detector's segments: the control of all explanations, since the best overlap over thresholds is above 0 by chance.

Controls without information are asked for by Adebayo et al. 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.anomaly.explained import Explained

CARD = MethodCard(
    name="random-explained",
    title="Random weights of segments",
    family="anomaly",
    home="anomaly/tiles",
    cite="Adebayo et al. 2018",
    bases={"detector": {"method": "vae-gan-anomaly"}},
    defaults="convention",
)


class RandomExplained(Explained):
    """Weights are normal numbers, others for each image."""

    def weights(self, x: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        generator.manual_seed((self.seed + int(1e6 * x.double().mean())) % 2**32)
        return torch.randn(int(label.max()) + 1, generator=generator)
