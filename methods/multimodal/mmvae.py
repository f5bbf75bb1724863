"""Mixture-of-experts multimodal autoencoder (Shi, Siddharth, Paige and Torr 2019): each modality alone must say all of the others.

    S = {{1}, .., {M}},   q(z|x) = (1/M) sum_m q(z|x_m)

Given several modalities, one of them, drawn for each example, is encoded.

Differences from the paper: its objective is importance-weighted (IWAE) with the gradient of DReG and Laplace posteriors; this is the
evidence bound, of Gaussians, that Daunhawer et al. 2022 analyse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.multimodal.base import MultimodalVAE, singletons

CARD = MethodCard(
    name="mmvae",
    title="Mixture-of-experts multimodal VAE",
    family="multimodal",
    home="multimodal/poly-digits",
    paper="067",
    cite="Shi, Siddharth, Paige and Torr 2019",
    defaults="convention",
)


class MMVAE(MultimodalVAE):
    """See the module."""

    def subsets(self) -> Tensor:
        return singletons(len(self.spec.modalities))

    def mask_given(self, given: Tensor, n: int) -> Tensor:
        of = self.subsets()[given]
        return of[torch.randint(len(of), (n,))] if len(of) > 1 else of.expand(n, -1)
