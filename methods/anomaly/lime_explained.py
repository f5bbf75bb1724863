"""LIME of a detector's reconstruction error (Ribeiro, Singh and Guestrin 2016; Rashid et al. 2024, settings S1 and S2).

    minimise over w  sum_z pi(z) (v(z) - v_0 - sum_j z_j w_j)^2 + ridge |w|^2,   z_j ~ Bernoulli(1/2)

pi falls with the cosine distance of z from the whole image. Differences from the paper: about 40 segments by k-means and 300 masks in the
place of about 100 by quickshift and 5,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, NonNegative
from elboard.methods.anomaly.explained import Explained
from elboard.methods.parts.attributions import surrogate

CARD = MethodCard(
    name="lime-explained",
    title="LIME of a VAE-GAN's reconstruction error",
    family="anomaly",
    home="anomaly/tiles",
    paper="077",
    cite="Rashid et al. 2024",
    bases={"detector": {"method": "vae-gan-anomaly"}},
    defaults="convention",
)


class LIMEExplained(Explained):
    """Weights of a local linear surrogate."""

    @dataclass(kw_only=True)
    class Config(Explained.Config):
        n_samples: Count = 300
        ridge: NonNegative = 1.0  # of the package

    def weights(self, x: Tensor, label: Tensor, generator: torch.Generator) -> Tensor:
        n, m = self.config.n_samples, int(label.max()) + 1
        masks = torch.randint(2, (n, m), generator=generator)
        masks[0] = 1  # the image itself, as in the package
        masks = masks.to(x.device)
        return surrogate(masks, self.values(x, label, masks), self.config.ridge)
