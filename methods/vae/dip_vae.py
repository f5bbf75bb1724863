"""DIP-VAE, disentangled inferred prior (Kumar, Sattigeri and Balakrishnan 2018).

    minimise  -ELBO + lambda_od sum_{i != j} M_ij^2 + lambda_d sum_i (M_ii - 1)^2

    DIP-VAE-I:   M = Cov_x[mu(x)]                              DIP-VAE-II:   M = Cov_x[mu(x)] + E_x[diag sigma^2(x)]

By the law of total covariance the M of II is the covariance of q(z) = E_x q(z|x), which is drawn to that of the prior; that of I leaves
the posterior's variance out, so that units which carry nothing are drawn to a variance that the divergence forbids. Covariances are the
batch's, biased (1/B) as in the reference code, in single precision whatever the networks compute in; gradients go through both of their
terms. Only linear dependence is seen by them.

Differences from the paper: the network and the batches of 64 are the task's; the weights are of a likelihood summed over its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import at_least_single
from elboard.bench.options import NonNegative
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.disentangling import Disentangling

CARD = MethodCard(
    name="dip-vae",
    title="DIP-VAE, I and II",
    family="vae",
    home="disentanglement/sprites",
    paper="046",
    cite="Kumar, Sattigeri and Balakrishnan 2018",
    defaults="paper",
)


class DIPVAE(Disentangling):
    """Trained on the bound and the moments of the inferred prior."""

    @dataclass(kw_only=True)
    class Config(Disentangling.Config):
        variant: Literal["ii", "i"] = "ii"
        lambda_od: NonNegative = 10.0  # of 1, 2, 5, 10, 20, 50, 100, 500
        ratio: NonNegative = 0.0  # lambda_d / lambda_od; 0: the paper's, 10 for I and 1 for II

    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        c = self.config
        m = inferred_covariance(q, with_variance=c.variant == "ii")
        diagonal = m.diagonal()
        off = (m**2).sum() - (diagonal**2).sum()
        lambda_d = c.lambda_od * (c.ratio or (10.0 if c.variant == "i" else 1.0))
        return {"loss": kl + c.lambda_od * off + lambda_d * ((diagonal - 1) ** 2).sum(), "off_diagonal": off}


def inferred_covariance(q: Gaussian, with_variance: bool) -> Tensor:
    """Covariance of a batch's means, ``(Z, Z)``, and with the mean of their variances on its diagonal that of the batch's q(z)."""
    mean, logvar = at_least_single(q.mean), at_least_single(q.logvar)
    centred = mean - mean.mean(0)
    covariance = (centred[:, :, None] * centred[:, None, :]).mean(0)  # a product of matrices would be one of half precision in mixed runs
    return covariance + torch.diag(logvar.exp().mean(0)) if with_variance else covariance
