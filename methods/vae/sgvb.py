"""A variational autoencoder and three unbiased estimators of its bound's gradient (Kingma and Welling 2014, sections 2.2 to 2.4).

    b:          -KL(q(z|x) || p(z)) in closed form + log p(x|z),      z = mu + sigma eps            (eq. 7)
    a:          log p(x, z) - log q(z|x),                             z = mu + sigma eps            (eq. 6)
    reinforce:  [log p(x, z) - log q(z|x)] grad log q(z|x),           z ~ q(z|x) and not followed   (section 2.2, the naive estimator)

of one sample each. The first two follow the sample to mu and sigma, the last does not; the gradient of the decoder is common to all.
``estimator`` is the one that trains; a task may ask for the gradients of all of them at the weights that it leads to.

Differences from the paper: those of :mod:`elboard.methods.vae.vae`, which ``estimator=b`` is. The naive estimator has no baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.gradients import GradientEstimators
from elboard.bench.kinds.likelihood import BinaryLikelihood
from elboard.bench.task import Batch
from elboard.methods.parts.discrete import log_density
from elboard.methods.vae.base import GaussianVAE

CARD = MethodCard(
    name="sgvb",
    title="VAE with estimator A, B or REINFORCE",
    family="vae",
    home="gradients/mnist",
    paper="025",
    cite="Kingma and Welling 2014",
    splits=True,
    defaults="convention",
)


class SGVB(GaussianVAE, BinaryLikelihood, GradientEstimators):
    """Trained on the evidence lower bound by one of its estimators."""

    estimators: ClassVar[tuple[str, ...]] = ("b", "a", "reinforce")

    @dataclass(kw_only=True)
    class Config(GaussianVAE.Config):
        estimator: Literal["b", "a", "reinforce"] = "b"  # the paper's choice; or a, reinforce

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        objective = self.negative_bound(batch["x"], self.config.estimator)
        return {"loss": objective.mean(), "elbo": -objective.detach().mean()}

    def negative_bound(self, x: Tensor, estimator: str) -> Tensor:
        """Minus the bound of each example, ``(B,)``, whose gradient is that of the estimator."""
        if estimator == "b":
            return -self.elbo(x)["elbo"]
        if estimator == "a":
            return -self.log_weights(x, 1)[:, 0]
        q = self.posterior(self.encoder(x))
        z = q.sample(1).z.detach()
        log_q = log_density(q, z)[:, 0]
        log_joint = self.likelihood.log_prob(x.flatten(1), self.output(z[:, 0])) + self.prior.log_prob(z[:, 0])
        bound = log_joint - log_q.detach()
        return -bound - bound.detach() * (log_q - log_q.detach())  # the last factor is zero, its gradient that of log q

    def gradients(self, x: Tensor, estimator: str, draws: int) -> Tensor:
        parameters = [*self.encoder.parameters(), *self.posterior.parameters()]
        rows = []
        with torch.enable_grad():
            for _ in range(draws):
                found = torch.autograd.grad(self.negative_bound(x, estimator).mean(), parameters)
                rows.append(torch.cat([g.flatten() for g in found]))
        return torch.stack(rows)
