"""Autoencoder (Hinton and Salakhutdinov 2006), a generator by the density of its codes (Ghosh et al. 2020, section 4).

    L(x) = -log p(x | g(f(x)))

Nothing holds the codes together: what a mixture fitted afterwards makes of them is the baseline of all that regularises. Differences from
the paper: trained from the start, without layers of restricted Boltzmann machines.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="autoencoder",
    title="Autoencoder with a density of codes",
    family="vae",
    home="samples/mnist",
    cite="Hinton and Salakhutdinov 2006",
    splits=True,
    defaults="convention",
)


class Autoencoder(Deterministic):
    """Trained on the reconstruction."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        return {"loss": self.distortion(x, self.code(x)).mean()}
