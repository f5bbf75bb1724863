"""A simple framework for contrastive learning of representations, SimCLR (Chen, Kornblith, Norouzi and Hinton 2020).

    l(i, j) = -log exp(cos(z_i, z_j) / temperature) / sum_(k != i) exp(cos(z_i, z_k) / temperature)         (eq. 1)

z are the projections of both views of each image of a batch, all 2 B of which count in the sum; i and j are views of one image, and the
loss is the mean over all i. Gradients flow through all of them. Features are means over places of a map, which generators in latents
(``latents/*``) take in the place of what a large self-supervised encoder, as DINOv2, gives for an image's patches.

Differences from the paper: a small convolutional network with normalisation in groups, so that no image changes another's features; a
projector of two layers to 64 dimensions, temperature 0.5 (their best on CIFAR-10); Adam instead of LARS, batches of hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.selfsup import MapEncoder
from elboard.bench.method import Bases
from elboard.bench.options import Count, Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.selfsup.base import Views, layers

CARD = MethodCard(
    name="simclr",
    title="Contrast of views (SimCLR)",
    family="selfsup",
    home="selfsup/fashion14",
    cite="Chen, Kornblith, Norouzi and Hinton 2020",
    defaults="convention",
)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean of eq. 1 over both views (B, d) of B images."""
    z = F.normalize(torch.cat([first, second]).float())
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    of_other = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(logits, of_other)


class SimCLR(Views, MapEncoder):
    """A projector on means of the map."""

    @dataclass(kw_only=True)
    class Config(Views.Config):
        backbone: Literal["maps"] = "maps"
        latent_dim: Count = 64
        hidden: Count = 256
        temperature: Positive = 0.5  # table 5 of the paper, and CIFAR-10 (appendix B.9)

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.projector = layers(self.backbone.n_features, config.hidden, config.latent_dim)

    def feature_map(self, x: Tensor) -> Tensor:
        return self.backbone.places(x)

    def target(self, x: Tensor) -> Tensor:
        return F.normalize(self.projector(self.backbone(x)))

    predicted = target

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z = [self.projector(self.backbone(batch[name])) for name in ("x", "view")]
        return {"loss": nt_xent(*z, self.config.temperature), "cosine": F.cosine_similarity(*z).mean().detach()}
