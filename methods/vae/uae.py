"""Unscented autoencoder (Janjos, Rosenbaum, Dolgov and Zoellner 2023).

    chi_0 = mu,   chi_i = mu + sqrt(n + lambda) L_i,   chi_(n+i) = mu - sqrt(n + lambda) L_i,   L = diag sigma(x),   i = 1..n
    loss = |x - (1/K) sum_k D(chi_k)|^2 / pixels + c R + eta mean[ max sigma^2 |grad_mu sum D(mu)| ]
    R = mean( |L - I|_F + |mu| )       (``regulariser=wasserstein``; ``kl`` is the ordinary one)

K of the 2n + 1 sigma points are drawn in place of random samples (``points=sigma``; ``pairs``: plus and minus along K / 2 axes; ``random``:
ordinary samples). The norms of the Wasserstein penalty do not forbid small variances, as the KL does. Codes do not follow N(0, I): for
densities and samples a mixture of ten Gaussians is fitted to the training means once training is over, for every choice of options.
``points=random regulariser=kl decoder=0`` is the VAE of the released code.

The Gaussian's deviation, which densities need and the objective has not, learns from errors through which no gradient goes on.

Differences from the paper: fully connected networks, shared by the family, at its rate, instead of convolutional ones at 5e-3 with batch
normalisation; diagonal covariances alone; pixels in [0, 1] instead of [-1, 1] with a linear output; norms not squared, as in the released
code; weights the same, whose balance depends on the mean over pixels. Epochs are chosen by the bound under N(0, I).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.ex_post import ExPost
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.parts.priors import Prior
from elboard.methods.vae.real import RealVAE

CARD = MethodCard(
    name="uae",
    title="Unscented autoencoder",
    family="vae",
    home="density/mnist-real",
    paper="056",
    cite="Janjos et al. 2023",
    defaults="convention",
)
LARGEST = 100.0  # eigenvalue in the decoder's penalty
TINY = 1e-6  # under the roots of norms, whose gradient is infinite at 0


class UAE(RealVAE):
    """Trained on sigma points, with a mixture of Gaussians for codes once it is trained."""

    @dataclass(kw_only=True)
    class Config(RealVAE.Config):
        points: Literal["sigma", "pairs", "random"] = "sigma"
        k: Count = 1  # K
        regulariser: Literal["wasserstein", "kl"] = "wasserstein"
        weight: NonNegative = 2.5e-4  # c
        decoder: NonNegative = 1e-6  # eta
        lambda_: NonNegative = 1e-3
        components: Count = 10  # of the mixture

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        if config.points == "pairs" and config.k % 2:
            raise UserError(f"k={config.k} is odd, and points=pairs has two for each axis")
        super().__init__(config, spec, bases)

    def make_prior(self) -> Prior:
        return ExPost(self.config.latent_dim, self.config.components)

    def fit(self, data: Data, training: Any) -> None:
        super().fit(data, training)
        self.eval()
        with torch.no_grad():
            means = torch.cat([self.encode(part.to(self.out.weight.device))[0] for part in data.train["x"].split(1000)])
            self.prior.to(means.device).fit(means)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"].flatten(1)
        q = self.posterior(self.encoder(batch["x"]))
        decoded = self.output(self.points(q)).mean(1)
        error = (x - decoded).square().mean()
        kl = kl_to_standard_normal(q.mean, q.logvar).mean()
        regulariser = kl if c.regulariser == "kl" else wasserstein(q)
        bound = self.likelihood.log_prob(x, decoded.detach()).mean() - kl.detach()
        loss = error + c.weight * regulariser - bound + bound.detach()  # the deviation learns from the bound alone
        if c.decoder > 0:
            loss = loss + c.decoder * self.decoder_penalty(q)
        return {"loss": loss, "elbo": bound, "kl": kl, "mse": error}

    def points(self, q: Gaussian) -> Tensor:
        """K codes of each posterior, ``(B, K, Z)``."""
        c, (b, n) = self.config, q.mean.shape
        if c.points == "random":
            return q.sample(c.k).z
        if c.points == "sigma":  # 0 is the mean, then the axes upwards, then downwards
            at = F.one_hot(torch.randint(2 * n + 1, (b, c.k), device=q.mean.device), 2 * n + 1).to(q.mean.dtype)
            signs = at[..., 1 : n + 1] - at[..., n + 1 :]
        else:
            up = F.one_hot(torch.randint(n, (b, c.k // 2), device=q.mean.device), n).to(q.mean.dtype)
            signs = torch.cat([up, -up], dim=1)
        return q.mean[:, None] + (n + c.lambda_) ** 0.5 * signs * torch.exp(0.5 * q.logvar)[:, None]

    def decoder_penalty(self, q: Gaussian) -> Tensor:
        """Mean of the largest variance times the norm of the gradient of the summed output in the mean code."""
        with torch.enable_grad():
            mean = q.mean if q.mean.requires_grad else q.mean.detach().requires_grad_()
            slope = torch.autograd.grad(self.output(mean).sum(), mean, create_graph=True)[0]
        return (q.logvar.exp().amax(1).clamp(max=LARGEST) * norm(slope)).mean()


def wasserstein(q: Gaussian) -> Tensor:
    """``mean( |L - I|_F + |mu| )`` of diagonal Gaussians, the released code's form of their Wasserstein distance to N(0, I)."""
    return (norm(torch.exp(0.5 * q.logvar) - 1) + norm(q.mean)).mean()


def norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last dimension."""
    return (x.square().sum(-1) + TINY).sqrt()
