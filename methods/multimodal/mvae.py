"""Multimodal variational autoencoder (Wu and Goodman 2018): the posterior is the product of all experts and the prior.

    S = {{1 .. M}},   q(z|x) propto p(z) prod_m N(z; mu_m, diag sigma_m^2)

``sub_sampling`` adds to S each modality by itself and ``sub_sampling`` - 1 subsets drawn anew for each batch, as that paper trains it: then
it is mixture-based, and what Daunhawer et al. 2022 say of these holds.

Differences from the paper: each term of a subset reconstructs all modalities, as in Daunhawer et al. 2022, not those of the subset alone,
and modalities have equal weights. Sub-sampling is off by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Natural
from elboard.methods.multimodal.base import MultimodalVAE, powerset, singletons

CARD = MethodCard(
    name="mvae",
    title="Multimodal VAE, product of experts",
    family="multimodal",
    home="multimodal/poly-digits",
    paper="067",
    cite="Wu and Goodman 2018",
    splits=True,
    defaults="convention",
)


class MVAE(MultimodalVAE):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(MultimodalVAE.Config):
        sub_sampling: Natural = 0  # 0: none; n: singletons and n - 1 random subsets beside the whole

    def subsets(self) -> Tensor:
        n, more = len(self.spec.modalities), self.config.sub_sampling
        whole = torch.ones(1, n, dtype=torch.bool)
        if not more or n == 1:
            return whole
        every = powerset(n)
        return torch.cat([whole, singletons(n), every[torch.randint(len(every), (more - 1,))]])
