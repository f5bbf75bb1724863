"""Mult-VAE's network with a logistic likelihood (Liang, Krishnan, Hoffman and Jebara 2018, section 2.2).

    log p(x|z) = sum_i x_i log s(f(z)_i) + (1 - x_i) log(1 - s(f(z)_i)),     s the logistic function

Each item is clicked or not, whatever becomes of the others. All else is as in :mod:`elboard.methods.recommendation.mult_vae`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.recommendation.mult_vae import MultVAE

CARD = MethodCard(
    name="logistic-vae",
    title="Variational autoencoder with logistic likelihood, for clicks",
    family="recommendation",
    home="recommendation/ml-100k",
    paper="045",
    cite="Liang, Krishnan, Hoffman and Jebara 2018",
    splits=True,
    defaults="paper",
)


class LogisticVAE(MultVAE):
    """A Bernoulli variable for each item."""

    def log_likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(output, x, reduction="none").sum(1)
