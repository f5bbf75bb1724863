"""VAE trained on k samples of its bound, the baseline of Burda, Grosse and Salakhutdinov 2016, Table 1.

    L(x) = E_{z_1..z_k ~ q(z|x)} (1/k) sum_i log p(x, z_i) / q(z_i | x)  =  ELBO for every k

More samples lower the variance of the gradient and nothing else; the importance-weighted bound of :mod:`elboard.methods.vae.iwae` has the
logarithm outside of the mean. Both use the same estimator of the log-weights, so that k = 1 of either is the other's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="vae-k",
    title="Variational autoencoder trained on k samples of its bound",
    family="vae",
    home="generation/digits",
    paper="021",
    cite="Burda, Grosse and Salakhutdinov 2016",
    splits=True,
    defaults="paper",
)


class VAEk(AnyDataVAE):
    """Trained on the mean of k log-weights."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        k: Count = 50  # Table 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        bound = self.log_weights(batch["x"], self.config.k).mean()
        return {"loss": -bound, "elbo": bound}
