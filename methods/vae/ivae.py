"""Identifiable variational autoencoder (Khemakhem, Kingma, Monti and Hyvarinen 2020).

    minimise  E_q[-log p(x|z)] + KL(q(z|x, u) || N(c(u), diag v(u)))

The prior's mean and variances are a network of the factors u, learned by this bound alone. Given u codes are independent, which fixes them
up to a permutation and functions of single codes, under conditions that a Gaussian of more than a mean meets.

Differences from the paper: factors of variation as u, by the network of IDVAE's comparison (Mita, Filippone and Michiardi 2021), which adds
the reader of images without labels; one rate for all networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import DataSpec
from elboard.methods.parts.posteriors import Gaussian, GaussianLayers
from elboard.methods.vae.auxiliary import LOGVAR, AuxiliaryVAE

CARD = MethodCard(
    name="ivae",
    title="iVAE",
    family="vae",
    home="disentanglement/sprites",
    cite="Khemakhem et al. 2020",
    defaults="convention",
)


class IVAE(AuxiliaryVAE):
    """With a prior network that the bound alone moves."""

    @dataclass(kw_only=True)
    class Config(AuxiliaryVAE.Config):
        prior_hidden: list[Count] = field(default_factory=lambda: [128, 128])

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.told = GaussianLayers(len(spec.factors), config.prior_hidden, config.latent_dim, LOGVAR)

    def conditional(self, u: Tensor) -> Gaussian:
        return self.told(u)
