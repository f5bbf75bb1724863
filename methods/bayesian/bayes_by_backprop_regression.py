"""Bayes by backprop for regression (Blundell, Cornebise, Kavukcuoglu and Wierstra 2015, section 5.2).

    L = E_{q(theta)}[ (1/N) sum_i -log N(y_i; f(x_i; theta), s^2) ] + 1 / (gamma N) KL(q(theta) || N(0, s0^2 I))
    q = N(mu, diag softplus(rho)^2);   p(y | x) = (1/S) sum_s N(y; f(x; theta_s), s^2),  theta_s ~ q

gamma = 1 is the negative ELBO over N. The noise s is a point estimate without a prior.

Differences from the paper: as of ``bayes-by-backprop``, one Gaussian as the prior, of which the KL is in closed form and weighs as much in
each batch, one draw of the weights a batch unless ``samples`` says more, and rho starts at -5; the noise is learned, unless the task gives
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.mean_field import MeanFieldWeights
from elboard.methods.parts.regressor import RegressionMethod, gaussian_nll

CARD = MethodCard(
    name="bayes-by-backprop-regression",
    title="Mean-field Gaussian weights by reparameterisation, regression",
    family="bayesian",
    home="regression/uci-yacht",
    cite="Blundell et al. 2015",
    splits=True,
    defaults="convention",
)


class BayesByBackpropRegression(MeanFieldWeights, RegressionMethod):
    """The shared network, whose weights are the means."""

    @dataclass(kw_only=True)
    class Config(RegressionMethod.Config):
        gamma: Positive = 1.0
        prior_sd: Positive = 1.0
        rho: Annotated[float, Range(-80, 20)] = -5.0  # at the start
        samples: Count = 1  # weights drawn in a training step

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.begin_posterior(config.rho, points=("log_sd",))

    def functions(self, x: Tensor, n: int) -> Tensor:
        """Means ``(n, B)`` of n draws of the weights."""
        return torch.stack([functional_call(self, self.draw(), (x,)) for _ in range(n)])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, kl = self.functions(batch["x"], self.config.samples), self.kl()
        error = gaussian_nll(batch["y"], mean, self.log_sd).mean()
        mse = (batch["y"] - mean).square().mean()
        return {"loss": error + kl / (self.config.gamma * self.spec.n_train), "error": error, "kl": kl, "mse": mse}

    def predictive(self, x: Tensor, n_samples: int = 1) -> tuple[Tensor, Tensor]:
        """``n_samples`` components, one draw of the weights for each, common to the inputs."""
        mean = self.functions(x, n_samples)
        return mean, self.log_sd.exp().expand_as(mean)
