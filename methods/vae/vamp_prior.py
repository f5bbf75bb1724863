"""Variational autoencoder with a mixture of posteriors as prior (Tomczak and Welling 2018, VampPrior).

    p(z) = (1/K) sum_k q(z | u_k),    u_k = clip(w_k, 0, 1) learned pseudo-inputs                                          (eq. 9)
    L(x) = E_q(z|x)[log p(x|z) + log p(z) - log q(z|x)]

with one sample an example; the divergence has no closed form. Pseudo-inputs start at the training mean plus noise of its deviation, those
of real vectors at training examples, and are clipped where pixels are.

Differences from the paper: the family's network, without gates and with one layer of codes; no warm-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.parts.priors import Prior
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="vamp-prior",
    title="VAE with a mixture of posteriors as prior",
    family="vae",
    home="generation/digits",
    cite="Tomczak and Welling 2018",
    splits=True,
    defaults="paper",
)


class MixtureOfPosteriors(Prior):
    """The mixture of the ``components`` that ``posterior`` gives, a function without arguments whose networks belong to the method."""

    def __init__(self, posterior: Any):
        super().__init__()
        self.__dict__["posterior"] = posterior

    def sample(self, n: int, like: Tensor) -> Tensor:
        q: Gaussian = self.posterior()
        k = torch.randint(len(q.mean), (n,), device=like.device)
        return Gaussian(q.mean[k], q.logvar[k]).sample().z

    def log_prob(self, z: Tensor) -> Tensor:
        """By one matrix product each for the quadratic, the linear and the constant terms: never in half precision, as they cancel."""
        q: Gaussian = self.posterior()
        mean, logvar, z = (at_least_single(of) for of in (q.mean, q.logvar, z))
        with torch.autocast(z.device.type, enabled=False):
            precision = torch.exp(-logvar)
            constant = (mean**2 * precision + logvar + math.log(2 * math.pi)).sum(1)
            logs = z @ (mean * precision).T - 0.5 * (z**2 @ precision.T + constant)
        return torch.logsumexp(logs, dim=-1) - math.log(len(mean))


class VampPrior(AnyDataVAE):
    """Trained on the evidence lower bound with a learned prior."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        components: Count = 500  # K; section 4.1

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.pseudo = nn.Parameter(torch.zeros(config.components, *spec.shape))

    def make_prior(self) -> Prior:
        return MixtureOfPosteriors(lambda: self.posterior(self.encoder(self.inputs())))

    def inputs(self) -> Tensor:
        """The pseudo-inputs ``(K, *shape)``."""
        return self.pseudo if self.spec.likelihood == "gaussian" else self.pseudo.clamp(0, 1)

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        x, k = data.train["x"], self.config.components
        with torch.no_grad():
            if self.spec.likelihood == "gaussian":
                self.pseudo.copy_(x[torch.arange(k) % len(x)])
            else:
                noise = torch.randn(self.pseudo.shape, generator=torch.Generator().manual_seed(0))
                self.pseudo.copy_((x.mean(0) + x.std(0) * noise).clamp(0, 1))  # beyond the bounds no gradient would ever reach them

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = self.elbo(batch["x"])
        return {"loss": -terms["elbo"].mean(), "elbo": terms["elbo"].mean(), "kl": terms["kl"].mean()}
