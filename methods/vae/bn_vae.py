"""BN-VAE: batch normalisation of the posterior means with a fixed scale (Zhu, Bi, Liu, Ma, Li and Wu 2020).

    mu_d <- gamma (mu_d - m_d) / s_d + b_d,      m_d, s_d over the batch,   gamma fixed, b_d learned
    E_x KL(q(z|x) || N(0, I)) >= sum_d (gamma^2 + b_d^2) / 2                                                                  (eq. 7)

so that the divergence cannot vanish; the rest is the beta-VAE, one model for each weight beta of the task. In evaluation the statistics are
running means.

Differences from the paper: images instead of text, batches of the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.method import Bases
from elboard.bench.options import Positive
from elboard.methods.vae.vae_grid import VAEGrid

CARD = MethodCard(
    name="bn-vae",
    title="VAE with batch-normalised means",
    family="vae",
    home="collapse/bits",
    cite="Zhu et al. 2020",
    defaults="paper",
)


class BNVAE(VAEGrid):
    """Trained on the bound, with means of a given spread."""

    @dataclass(kw_only=True)
    class Config(VAEGrid.Config):
        gamma: Positive = 0.7  # section 4; Zhang et al. 2022

    def __init__(self, config: Any, spec: BetaSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        units = len(spec.betas) * config.latent_dim
        self.norm, self.shift = nn.BatchNorm1d(units, affine=False), nn.Parameter(torch.zeros(units))

    def posteriors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = super().posteriors(x)
        units = mean.transpose(0, 1).flatten(1)  # (B, G Z)
        normed = self.config.gamma * self.norm(units) + self.shift
        return normed.unflatten(1, (mean.shape[0], mean.shape[2])).transpose(0, 1), logvar
