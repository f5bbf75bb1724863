"""Wasserstein autoencoders with Lipschitz networks (Chakrabarty, Basu and Das 2023).

    min_{E, D}  (1/n) sum_i |x_i - D(E(x_i))|^2 + lambda MMD^2( E_# P_n, N(0, I) )
    W(D_# P_Z, P) <= Lip(D) (error of the codes' law) + reconstruction error

Encoder and decoder have GroupSort activations, which sort pairs of units, and weights divided by their spectral norms, so that each is
Lipschitz with the constant ``lipschitz``; without the norms GroupSort guarantees nothing. ``activation=relu lipschitz=0`` are ordinary
networks: the method ``wae-grid``.

A run of ``rates/contamination`` at lite takes 60 to 90 CPU seconds.

Differences from the paper: spectral norms by the power method; 64 units in two layers; the MMD alone, no discriminator; lambda = 1 for
errors summed over dimensions (the code: 0.2 for their mean over three, which is 0.6); the rate 1e-3 (the code: 1e-4, for more steps), which
falls to zero along half a cosine, and the constant 4 are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.parts.batched import batched_mlp, iterate
from elboard.methods.vae.wae_grid import WAEGrid

CARD = MethodCard(
    name="wae-groupsort",
    title="Wasserstein autoencoders with Lipschitz networks",
    family="vae",
    home="rates/contamination",
    paper="109",
    cite="Chakrabarty et al. 2023",
    defaults="convention",
)


class WAEGroupSort(WAEGrid):
    """A model for each fit, with networks whose slopes are bounded."""

    @dataclass(kw_only=True)
    class Config(WAEGrid.Config):
        activation: Literal["groupsort", "relu", "tanh"] = "groupsort"
        lipschitz: NonNegative = 4.0  # of encoder and of decoder; 0: no bound

    def make_networks(self, models: int, sizes: list[int]) -> nn.Module:
        return batched_mlp(models, sizes, self.config.activation, self.config.lipschitz or None)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        """The norms follow the weights: one iteration of the power method a step, outside the loss, which stays pure."""
        super().on_train_batch_start(batch, batch_idx)
        iterate(self)
