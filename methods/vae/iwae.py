"""Importance-weighted autoencoder (Burda, Grosse and Salakhutdinov 2016).

    L_k(x) = E_{z_1..z_k ~ q(z|x)} log (1/k) sum_i p(x, z_i) / q(z_i | x),     L_1 = ELBO <= L_k <= log p(x)

The gradient of the log-sum-exp is the sum of the samples' gradients weighted by their normalised importance weights (eq. 14), so
automatic differentiation of L_k is the estimator of the paper. ``elbo`` in the curves is the mean of the log-weights, which is L_1.

Differences from the paper: batches and the number of epochs are the task's, the learning rate is constant; Adam's defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="iwae",
    title="Importance-weighted autoencoder",
    family="vae",
    home="generation/digits",
    paper="021",
    cite="Burda, Grosse and Salakhutdinov 2016",
    splits=True,
    defaults="paper",
)


class IWAE(AnyDataVAE):
    """Trained on the k-sample importance bound."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        k: Count = 50  # Table 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        log_weights = self.log_weights(batch["x"], self.config.k)
        bound = torch.logsumexp(log_weights, dim=1) - math.log(self.config.k)
        return {"loss": -bound.mean(), "elbo": log_weights.mean()}
