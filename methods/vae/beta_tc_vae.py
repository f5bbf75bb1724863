"""beta-TCVAE (Chen, Li, Grosse and Duvenaud 2018).

    E_x KL(q(z|x) || p(z)) = I_q(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))            (eq. 2)
    minimise  -ELBO + (beta - 1) TC,   TC = KL(q(z) || prod_j q(z_j))

with the densities of the aggregate posterior by minibatch-weighted sampling (eq. 3), of M among the N training examples:

    log q(z_i) ~ log 1/(N M) sum_j q(z_i | x_j),   for each dimension alike

beta = 1 is the VAE. Its weights alpha = gamma = 1 of the other two terms are the paper's. For M < N the estimate of TC has a constant of
about (Z - 1) log N too much, which has no gradient: the objective is compared with itself alone, and the curves have the bound beside it.

Differences from the paper: the network is the task's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.disentangling import Disentangling

CARD = MethodCard(
    name="beta-tc-vae",
    title="beta-TCVAE, minibatch-weighted",
    family="vae",
    home="disentanglement/sprites",
    cite="Chen et al. 2018",
    defaults="library",
)


class BetaTCVAE(Disentangling):
    """Trained with a heavier total correlation."""

    @dataclass(kw_only=True)
    class Config(Disentangling.Config):
        beta: NonNegative = 6.0  # of 1, 2, 4, 6, 8, 10 (Locatello et al. 2019)

    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        tc = total_correlation(draw.z, q, self.spec.n_train)
        return {"loss": kl + (self.config.beta - 1) * tc, "tc": tc}


def total_correlation(z: Tensor, q: Gaussian, n: int) -> Tensor:
    """Of the aggregate posterior of ``n`` examples by one sample ``z`` (M, Z) of each of M: the mean of log q(z) - sum_j log q(z_j)."""
    distance = (z[:, None] - q.mean[None]) ** 2 * torch.exp(-q.logvar)[None]
    log_q = -0.5 * (distance + q.logvar[None] + math.log(2 * math.pi))  # of sample i under example j, (M, M, Z)
    constant = math.log(n * len(z))
    joint = torch.logsumexp(log_q.sum(2), dim=1) - constant
    single = (torch.logsumexp(log_q, dim=1) - constant).sum(1)
    return (joint - single).mean()
