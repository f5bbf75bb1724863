"""KL of the population of codes instead of single posteriors (Rivera 2024, "How to train your VAE").

    loss = R mean|x - x^| + L_pop + L_ind,     z_i = mu_i + sigma_i eps,   over the B images of a batch
    L_pop = -1/2 sum_d (1 + log V_d - m_d^2 - V_d) = KL(N(m, V) || N(0, I)),   m_d = mean_i mu_id,   V_d = var_i mu_id
    L_ind = -w mean_i sum_d (1 + log sigma_id^2 - sigma_id^2),   w = 0.1

L_pop matches the moments of the batch's means to the prior, L_ind keeps single variances from vanishing; w = 1/2 would be the variances'
part of the ordinary KL. ``kl=single`` puts that KL, of each posterior with its mean, in the place of both: the ELBO VAE of the comparison.

The absolute error is a Laplace density of a fixed scale D / R; for densities the scale is learned beside it, from errors through which no
gradient goes on, so that it changes nothing else.

Differences from the paper: without its PatchGAN discriminator, which only sharpens textures, and which both sides of the comparison would
have; fully connected networks, shared by the family, without batch normalisation and dropout; batches of the
task, 100 instead of 10 to 20, whose moments are less noisy; R = 784, the sum over the pixels of a 28 x 28 image, where the released 5,000
is of 256 x 256 x 3; images in [0, 1] instead of [-1, 1], a linear output; 1e-6 under the logarithm of V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import RealLikelihood
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.vae.base import GaussianVAE

CARD = MethodCard(
    name="aggregate-kl-vae",
    title="VAE with the KL of the population of codes",
    family="vae",
    home="density/mnist-real",
    paper="014",
    cite="Rivera 2024",
    defaults="convention",
)
EPSILON = 1e-6  # under the logarithm of V, which is 0 where all means coincide


class Laplace(nn.Module):
    """Real values with one learned scale for all dimensions; the output is the median."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-2.0))  # about a pixel's deviation: Adam moves it by its rate a step at most

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        log_scale = self.log_scale.clamp(min=-7.0)
        return -(x - out).abs().sum(-1) * torch.exp(-log_scale) - out.shape[-1] * (log_scale + math.log(2))

    def mean(self, out: Tensor) -> Tensor:
        return out

    def initial_bias(self, mean: Tensor) -> Tensor:
        return mean


class AggregateKLVAE(GaussianVAE, RealLikelihood):
    """Trained on an absolute error, moments of the batch's codes and single variances."""

    @dataclass(kw_only=True)
    class Config(GaussianVAE.Config):
        reconstruction: Positive = 784.0  # R
        kl: Literal["population", "single"] = "population"  # or single: the ordinary KL, without the terms of the paper
        individual: NonNegative = 0.1  # w, the released code

    def make_likelihood(self) -> nn.Module:
        return Laplace()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, q = batch["x"].flatten(1), self.posterior(self.encoder(batch["x"]))
        output = self.output(q.sample().z)
        single = kl_to_standard_normal(q.mean, q.logvar).mean()
        population, individual = population_kl(q.mean), variance_term(q.logvar)
        regulariser = single if self.config.kl == "single" else population + self.config.individual * individual
        bound = self.likelihood.log_prob(x, output.detach()).mean() - single.detach()
        error = (x - output).abs().mean()
        loss = self.config.reconstruction * error + regulariser - bound + bound.detach()  # the scale learns from the bound alone
        return {"loss": loss, "elbo": bound, "kl": single, "population": population, "individual": individual, "l1": error}


def population_kl(mean: Tensor) -> Tensor:
    """``KL(N(m, V) || N(0, I))`` of the moments over the batch of means ``(B, Z)``."""
    return kl_to_standard_normal(mean.mean(0), torch.log(mean.var(0, unbiased=False) + EPSILON))


def variance_term(logvar: Tensor) -> Tensor:
    """``-mean_i sum_d (1 + log sigma^2 - sigma^2)``, at least 0, of log-variances ``(B, Z)``."""
    return (logvar.exp() - 1 - logvar).sum(1).mean()
