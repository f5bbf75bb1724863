"""Bayes by backprop (Blundell, Cornebise, Kavukcuoglu and Wierstra 2015): a Gaussian over all weights, learned by reparameterisation.

    L = E_{q(theta)}[ (1/N) sum_i -log q(y_i | x_i, theta) ] + 1 / (gamma N) KL(q(theta) || N(0, s^2 I))
    q = N(mu, diag softplus(rho)^2);   p(y | x) = (1/S) sum_s softmax f(x; theta_s),  theta_s ~ q

gamma = 1 is the negative ELBO over N; a larger one trusts the data more.

Differences from the paper: one Gaussian as the prior, of which the KL is in closed form, instead of a mixture of two; the KL has the same
weight in all batches; one draw of the weights a batch; the shared backbone, whose batch normalisation, where it has it, keeps the
statistics met at drawn weights; rho starts at -5, so that training begins near maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Positive, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.mean_field import MeanFieldWeights
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="bayes-by-backprop",
    title="Mean-field Gaussian weights by reparameterisation",
    family="bayesian",
    home="calibration/mnist",
    paper="035",
    cite="Blundell et al. 2015",
    splits=True,
    defaults="convention",
)


class BayesByBackprop(MeanFieldWeights, ClassifierMethod, MaximumProbability):
    """The shared classifier, whose weights are the means."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        gamma: Positive = 1.0
        prior_sd: Positive = 1.0
        rho: Annotated[float, Range(-80, 20)] = -5.0  # at the start

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.begin_posterior(config.rho)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = functional_call(self, self.draw(), (batch["x"],))
        error, kl = F.cross_entropy(logits, batch["y"]), self.kl()
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": error + kl / (self.config.gamma * self.spec.n_train), "error": error, "kl": kl, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample, common to the inputs."""
        return torch.stack([functional_call(self, self.draw(), (x,)).softmax(1) for _ in range(n_samples)])
