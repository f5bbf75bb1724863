"""A variational autoencoder for each modality, with a code of its own (Kingma and Welling 2014): the reference of Daunhawer et al. 2022.

    p(x, z) = prod_m p(z_m) p(x_m|z_m),   q(z|x) = prod_m q(z_m|x_m)

Nothing is shared, so that it says how good each modality can be with these networks; what it generates is coherent by chance alone. Its
posterior has the prior as an expert, as those it is compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.multimodal.base import MultimodalVAE
from elboard.methods.parts.posteriors import Gaussian

CARD = MethodCard(
    name="unimodal-vae",
    title="A VAE for each modality",
    family="multimodal",
    home="multimodal/poly-digits",
    paper="067",
    cite="Kingma and Welling 2014",
    splits=True,
    defaults="convention",
)


class UnimodalVAE(MultimodalVAE):
    """See the module."""

    def subsets(self) -> Tensor:
        return torch.ones(1, len(self.spec.modalities), dtype=torch.bool)

    def posterior(self, experts: Gaussian, mask: Tensor) -> Gaussian:
        """Codes of all modalities side by side, ``(B, M Z)``: of those that ``mask`` lacks the prior."""
        total = 1 + torch.exp(-experts.logvar) * mask[:, :, None]
        return Gaussian(((1 - 1 / total) * experts.mean).flatten(1), -torch.log(total).flatten(1))

    def code(self, z: Tensor, m: int) -> Tensor:
        return z.unflatten(1, (len(self.coders), -1))[:, m]
