"""Regularised autoencoder with the L2 penalty (Ghosh, Sajjadi, Vergari, Black and Scholkopf 2020, RAE-L2).

    L(x) = -log p(x | g(f(x))) + beta |f(x)|^2 / 2 + lambda |theta_g|^2                                                      (eqs. 6 f.)

The first penalty bounds the codes, the second, on the decoder's weights, makes it smooth. Samples come from a mixture of Gaussians that is
fitted to the codes afterwards.

Differences from the paper: the family's dense network; the distortion is minus the log-likelihood of the task (the cross-entropy of grey
pixels), where the paper has the squared error.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="rae-l2",
    title="Regularised autoencoder, L2",
    family="vae",
    home="samples/mnist",
    cite="Ghosh et al. 2020",
    splits=True,
    defaults="convention",
)


class RAE(Deterministic):
    """Trained on the reconstruction with two penalties."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        beta: NonNegative = 1.0  # that of the codes; of a summed log-likelihood as the VAE's
        weight: NonNegative = 1e-3  # lambda

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, c = batch["x"], self.config
        z = self.code(x)
        distortion, size = self.distortion(x, z).mean(), 0.5 * z.square().sum(1).mean()
        penalty = sum(p.square().sum() for part in (self.decoder, self.out) for p in part.parameters())
        return {"loss": distortion + c.beta * size + c.weight * penalty, "distortion": distortion, "size": size}
