"""beta-VAE (Higgins et al. 2017).

    L(x) = E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || p(z)),   beta > 1

The divergence is the sum over codes and the likelihood that over pixels: at another size of images the same pressure has another beta
(section 3: beta relative to the numbers of both). beta = 1 is the VAE.

Differences from the paper: the network is the task's; Adam at 1e-3 for fewer steps, not Adagrad at 1e-2 (dSprites, appendix).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import NonNegative
from elboard.methods.parts.posteriors import Draw, Gaussian
from elboard.methods.vae.disentangling import Disentangling

CARD = MethodCard(
    name="beta-vae",
    title="beta-VAE",
    family="vae",
    home="disentanglement/sprites",
    paper="064",
    cite="Higgins et al. 2017",
    splits=True,
    defaults="paper",
)


class BetaVAE(Disentangling):
    """Trained with a heavier divergence."""

    @dataclass(kw_only=True)
    class Config(Disentangling.Config):
        beta: NonNegative = 4.0  # section 4.2, for 2D shapes

    def regulariser(self, q: Gaussian, draw: Draw, kl: Tensor) -> dict[str, Tensor]:
        return {"loss": self.config.beta * kl}
