"""FactorVAE (Kim and Mnih 2018).

    minimise  -ELBO + gamma TC,   TC = KL(q(z) || prod_j q(z_j)) ~ E_q(z)[log D(z) / (1 - D(z))]                 (eqs. 2, 3)

D(z) is the probability, by a network of its own, that z is of q(z) and not of the product of its marginals; of the latter come samples
whose dimensions are permuted over the batch, each by itself (algorithm 1). D learns to tell them apart while the encoder learns to be
told apart less. gamma = 0 is the VAE.

One optimiser steps both: neither loss has gradients for the other's weights, and Adam works element by element. ``loss`` is the sum.

Differences from the paper: the network is the task's; three layers of 256 units for D instead of six of 1,000, of which a step would take
longer than of the autoencoder on a CPU; permutations of the same batch, as in disentanglement_lib, and both steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.disentangling import Disentangling

CARD = MethodCard(
    name="factor-vae",
    title="FactorVAE",
    family="vae",
    home="disentanglement/sprites",
    cite="Kim and Mnih 2018",
    defaults="paper",
)


class FactorVAE(Disentangling):
    """Trained against a discriminator of dependent codes."""

    @dataclass(kw_only=True)
    class Config(Disentangling.Config):
        gamma: NonNegative = 35.0  # section 5, for 2D shapes
        discriminator: list[Count] = field(default_factory=lambda: [256, 256, 256])
        discriminator_lr: NonNegative = 0.0  # with Adam's betas 0.5 and 0.9; 0: the autoencoder's, as both are 1e-4 in appendix A

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        layers: list[nn.Module] = []
        for a, b in zip([config.latent_dim, *config.discriminator], config.discriminator, strict=False):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear([config.latent_dim, *config.discriminator][-1], 1))

    def parameter_groups(self) -> list[dict]:
        own = list(self.discriminator.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("discriminator.")]
        return [{"params": others}, {"params": own, "lr": self.config.discriminator_lr or self.config.lr, "betas": (0.5, 0.9)}]

    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        tc = functional_call(self.discriminator, fixed, (draw.z,)).mean()  # the logit of D is log D / (1 - D)
        return {"loss": kl + self.config.gamma * tc, "tc": tc}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out, draw = self.terms(batch["x"])
        z = draw.z.detach()
        real, permuted = self.discriminator(z), self.discriminator(permute_dimensions(z))
        discriminator = 0.5 * (F.softplus(-real).mean() + F.softplus(permuted).mean())
        return {**out, "loss": out["loss"] + discriminator, "discriminator": discriminator}


def permute_dimensions(z: Tensor) -> Tensor:
    """Each column of ``z`` (B, Z) in an order of its own: samples of the product of the marginals."""
    order = torch.rand(z.shape, device=z.device).argsort(0)
    return z.gather(0, order)
