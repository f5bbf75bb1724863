"""Mixture-of-products-of-experts multimodal autoencoder (Sutter, Daunhawer and Vogt 2021).

    S = all non-empty subsets A,   q(z|x) = sum_A q_A(z|x_A) / (2^M - 1),   q_A(z|x_A) propto p(z) prod_{m in A} q(z|x_m)

Given modalities are encoded by their product, which is one of the trained components.

Differences from the paper: subsets are drawn for each example in training (the paper splits each batch among them) in both terms of
the bound; the prior is an expert of every product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.multimodal.base import MultimodalVAE, powerset

CARD = MethodCard(
    name="mopoe",
    title="Mixture-of-products-of-experts multimodal VAE",
    family="multimodal",
    home="multimodal/poly-digits",
    paper="067",
    cite="Sutter, Daunhawer and Vogt 2021",
    defaults="convention",
)


class MoPoE(MultimodalVAE):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(MultimodalVAE.Config):
        components: Literal["powerset", "whole"] = "powerset"  # "whole": the subset of all alone, which is MVAE

    def subsets(self) -> Tensor:
        n = len(self.spec.modalities)
        return powerset(n) if self.config.components == "powerset" else torch.ones(1, n, dtype=torch.bool)
