"""Free bits (Kingma et al. 2016, appendix C.8): units may carry some information for nothing.

    L = E_q(z|x)[-log p(x|z)] + beta sum_d max(lambda / Z, mean_x KL(q(z_d|x) || N(0, 1)))

The mean is over a batch; below lambda / Z nats a unit's divergence has no gradient. lambda = 0 is the beta-VAE. One model for each weight
beta of the task.

Differences from the paper: groups of units are single units, and lambda is given as the sum over them, as in the text models that are
compared with it (Zhang et al. 2022, with 4 nats); inverse autoregressive flows are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.vae.vae_grid import VAEGrid

CARD = MethodCard(
    name="free-bits",
    title="VAE with free bits",
    family="vae",
    home="collapse/bits",
    cite="Kingma et al. 2016",
    defaults="convention",
)


class FreeBits(VAEGrid):
    """Trained on a bound with a floor under each unit's divergence."""

    @dataclass(kw_only=True)
    class Config(VAEGrid.Config):
        free: NonNegative = 4.0  # lambda, in nats: Zhang et al. 2022

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, logvar = self.posteriors(batch["x"])
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        log_p = self.likelihood.log_prob(batch["x"].flatten(1), self.decoder(z))
        units = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean(1)  # (G, Z)
        floored = units.clamp(min=self.config.free / units.shape[1]).sum(1)
        return {"loss": (self.betas * floored - log_p.mean(1)).sum(), "elbo": log_p.mean() - units.sum(1).mean(), "kl": units.sum(1).mean()}
