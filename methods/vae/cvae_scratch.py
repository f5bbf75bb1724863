"""Conditional hierarchical VAE trained from scratch: the control of IPA (Harvey, Naderiparizi and Wood 2022; Sohn, Lee and Yan 2015).

    maximise  E_q[log p(x|z)] - sum_l E_q KL(q(z_l|z_<l, x) || c(z_l|z_<l, y))     over q, p(x|z) and c

The network is that of IPA and of the model that it starts from, of which only the unconditional prior is not needed: the same bound, but
nothing of it is known beforehand.

Differences from the paper: those of IPA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.task import Batch, DataSpec
from elboard.methods.vae.completing import Completing, PartialEncoder, seen
from elboard.methods.vae.ladder import Ladder

CARD = MethodCard(
    name="cvae-scratch",
    title="Conditional hierarchical VAE from scratch",
    family="vae",
    home="inpainting/mnist",
    cite="Sohn, Lee and Yan 2015",
    splits=True,
    defaults="convention",
)


class CVAEScratch(Ladder, Completing):
    """Trained on the conditional bound."""

    priors = False

    @dataclass(kw_only=True)
    class Config(Ladder.Config):
        pass

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.partial = PartialEncoder(self)

    @property
    def model(self) -> Ladder:
        return self

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        found = self.decoder.descend(len(x), self.q(x), self.partial.given(seen(x, batch["mask"])))
        reconstruction, kl = -self.log_likelihood(x, found.state).mean(), found.kl.mean()
        return {"loss": reconstruction + kl, "elbo": -reconstruction - kl, "kl": kl, "reconstruction": reconstruction}
