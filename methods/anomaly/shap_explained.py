"""Shapley values of segments for a detector's reconstruction error, by KernelSHAP (Lundberg and Lee 2017; Rashid et al. 2024, setting S3).

    w_j = mean over orders of the segments of  v(those before j and j) - v(those before j),   sum_j w_j = f(x) - v(0)

They solve a least-squares problem over all coalitions with Shapley's kernel (theorem 2); here over 300 that are drawn, or over all where
there are fewer. Differences from the paper: segments by k-means in the place of the partitions of its package, and 300 evaluations of
5,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Range
from elboard.methods.anomaly.explained import Explained
from elboard.methods.parts.attributions import coalitions, shapley

CARD = MethodCard(
    name="shap-explained",
    title="Shapley values of a VAE-GAN's reconstruction error",
    family="anomaly",
    home="anomaly/tiles",
    paper="077",
    cite="Rashid et al. 2024",
    bases={"detector": {"method": "vae-gan-anomaly"}},
    defaults="convention",
)


class SHAPExplained(Explained):
    """Shapley values of the segments."""

    @dataclass(kw_only=True)
    class Config(Explained.Config):
        n_samples: Annotated[int, Range(2)] = 300

    def weights(self, x: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        m = int(label.max()) + 1
        masks, weights = coalitions(m, self.config.n_samples, generator)
        ends = torch.stack([torch.zeros(m), torch.ones(m)]).to(masks)
        values = self.values(x, label, torch.cat([ends, masks]).to(x.device))
        return shapley(masks.to(x.device), weights, values[2:], values[0], values[1])
