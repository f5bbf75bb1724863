"""AnnealedVAE, controlled capacity increase (Burgess et al. 2018).

    minimise  -E_q(z|x)[log p(x|z)] + gamma |KL(q(z|x) || p(z)) - C|,   C from 0 linearly to c_max

The divergence is the mean over a batch; as its target grows, codes are let in one after the other. The share of training over which C
rises is that of disentanglement_lib (100,000 of 300,000 steps).

Differences from the paper: the network is the task's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative, Share
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.disentangling import Disentangling

CARD = MethodCard(
    name="annealed-vae",
    title="AnnealedVAE, growing capacity",
    family="vae",
    home="disentanglement/sprites",
    cite="Burgess et al. 2018",
    defaults="paper",
)


class AnnealedVAE(Disentangling):
    """Trained at a divergence that is given and rises."""

    @dataclass(kw_only=True)
    class Config(Disentangling.Config):
        gamma: NonNegative = 1000.0  # section 5
        c_max: NonNegative = 25.0  # nats, ditto for dSprites
        rise: Share = 0.33  # share of training

    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        c = self.config
        target = c.c_max * ramp(self.progress, c.rise)
        return {"loss": c.gamma * (kl - target).abs()}
