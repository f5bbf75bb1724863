"""InfoVAE with the maximum mean discrepancy (Zhao, Song and Ermon 2019).

    L(x) = E_q(z|x)[log p(x|z)] - (1 - alpha) KL(q(z|x) || p(z)) - (alpha + lambda - 1) MMD^2(q(z), p(z))

q(z) is the aggregate posterior of the batch. alpha = 0, lambda = 1 is the evidence lower bound; alpha = 1 is MMD-VAE, which has no KL of
single posteriors. The kernel is exp(-|a - b|^2 / (2 s^2)) with 2 s^2 the latent dimension; MMD^2 is the V-statistic over the batch's
codes and as many fresh samples of the prior. With the log-likelihood summed over pixels lambda has to be of the order of 100 to 1000.

The objective is no bound on the evidence: the curves and the selection show the evidence lower bound beside it.

Differences from the paper: fully connected networks, shared by the family, instead of convolutional ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Range
from elboard.bench.task import Batch
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="infovae",
    title="InfoVAE with maximum mean discrepancy (MMD-VAE)",
    family="vae",
    home="generation/digits",
    paper="007",
    cite="Zhao, Song and Ermon 2019",
    defaults="convention",
)


class InfoVAE(AnyDataVAE):
    """Trained on a reweighted bound with a divergence of the aggregate posterior."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        alpha: Annotated[float, Range(high=1)] = 1.0  # MMD-VAE, the variant of the paper's experiments
        lambda_: NonNegative = 1000.0  # the paper's order of magnitude for a summed log-likelihood

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.elbo(batch["x"])
        mmd = mmd2(terms["z"], torch.randn_like(terms["z"]))
        objective = (terms["reconstruction"] + (1 - c.alpha) * terms["kl"]).mean() + (c.alpha + c.lambda_ - 1) * mmd
        return {"loss": objective, "elbo": terms["elbo"].mean(), "kl": terms["kl"].mean(), "mmd2": mmd}


def mmd2(a: Tensor, b: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of ``(n, Z)`` and ``(m, Z)``, V-statistic, Gaussian kernel with 2 s^2 = Z."""

    def kernel_mean(x: Tensor, y: Tensor) -> Tensor:
        squared = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
        return torch.exp(-squared / x.shape[1]).mean()

    return kernel_mean(a, a) + kernel_mean(b, b) - 2 * kernel_mean(a, b)
