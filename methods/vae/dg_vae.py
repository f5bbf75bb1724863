"""Density-gap regularisation (Zhang, Bai, Lin, Wang, Rong and others 2022).

    L    = E_q(z|x)[-log p(x|z)] + w DG
    DG   = sum_d (1 / (b M)) sum_{i, m} log q_d(z_imd) - log N(z_imd; 0, 1),      z_im ~ q(z|x_i), m = 1..M                   (eq. 11)
    q_d(z) = (1 / b) sum_{k in chunk} N(z; mu_kd, sigma_kd^2)

The divergence from the prior is that of the aggregate of a chunk of b examples, dimension by dimension, and not of each posterior: what the
codes tell of an example goes free up to log b nats a dimension. b = 1 is the Monte Carlo estimate of the ordinary KL. The mean is over the
chunks of a batch, whose order is random; the gradient goes through z and through q_d. The weight rises from 0 over the first tenth of
training, as over 10 of the paper's 100 epochs. One model for each weight beta of the task, which multiplies w; beta = 1 is the paper's.

Differences from the paper: images and bits instead of text, and no recurrent networks; batches and epochs are the task's. Where b does not
divide the batch, chunks are as much larger as it takes, and fewer examples than chunks are left out. The von Mises-Fisher variant is left
out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.vae_grid import VAEGrid

CARD = MethodCard(
    name="dg-vae",
    title="VAE with a density-gap regulariser",
    family="vae",
    home="collapse/bits",
    paper="006",
    cite="Zhang et al. 2022",
    defaults="paper",
)


class DGVAE(VAEGrid):
    """Trained on the reconstruction and the density gap of chunks of a batch."""

    @dataclass(kw_only=True)
    class Config(VAEGrid.Config):
        aggregate: Count = 32  # b; the paper's batch
        samples: Count = 32  # M
        rise: Share = 0.1  # share of training over which w rises from 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, logvar = self.posteriors(batch["x"])
        noise = torch.randn(self.config.samples, *mean.shape, device=mean.device)
        z = mean + noise * (0.5 * logvar).exp()  # (M, G, B, Z)
        log_p = self.likelihood.log_prob(batch["x"].flatten(1), self.decoder(z[0]))
        gap, kl = density_gap(z, mean, logvar, self.config.aggregate), kl_to_standard_normal(mean, logvar)
        objectives = self.betas * ramp(self.progress, self.config.rise) * gap - log_p.mean(1)
        return {"loss": objectives.sum(), "elbo": (log_p - kl).mean(), "kl": kl.mean(), "density_gap": gap.mean()}


def density_gap(z: Tensor, mean: Tensor, logvar: Tensor, size: int) -> Tensor:
    """``(G,)``, in nats: of samples ``(M, G, B, Z)`` of posteriors ``(G, B, Z)``, mean over chunks of at least ``size`` examples (all of a
    smaller batch)."""
    models, n, dims = mean.shape
    chunks = max(1, n // size)
    used = n // chunks * chunks
    mean, logvar = (part[:, :used].unflatten(1, (chunks, -1)) for part in (mean, logvar))  # (G, C, b, Z)
    z = z[:, :, :used].unflatten(2, (chunks, -1))  # (M, G, C, b, Z)
    scaled = (z[..., None, :] - mean[:, :, None]) * (-0.5 * logvar)[:, :, None].exp()  # (M, G, C, b of z, b of q, Z)
    log_q = torch.logsumexp(-0.5 * (scaled**2 + logvar[:, :, None]), dim=-2) - math.log(used // chunks)
    return (log_q + 0.5 * z**2).sum(-1).mean((0, 2, 3))  # the normalising constants cancel
