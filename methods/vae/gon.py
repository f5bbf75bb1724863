"""Gradient origin network (Bond-Taylor and Willcocks 2021): an autoencoder whose only network is its decoder F.

    z = - grad_{z0} L(x, F(z0))  at z0 = 0,      J = L(x, F(z)),      L = -log p(x|z)

By Tweedie's formula z is the posterior mean of a code that was seen as 0 under unit noise. J is differentiated through z, which takes a
second derivative of F: activations need a curvature, as ELU has and a rectifier has not. With a linear decoder z = W^T (x - E[x|0]), an
autoencoder with tied weights. Samples come from a mixture of Gaussians that is fitted to the codes afterwards, as of other autoencoders.

Differences from the paper: the family's dense network without batch normalisation instead of transposed convolutions; L is minus the
log-likelihood of the task (the cross-entropy of grey pixels), summed over pixels instead of a mean of squared errors over batch and
pixels, so that codes do not depend on the size of the batch; biases start as U(-1, 1) / sqrt(inputs). The implicit variant is not here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.vae.deterministic import Deterministic
from elboard.methods.vae.origin import GradientOrigin

CARD = MethodCard(
    name="gon",
    title="Gradient origin network",
    family="vae",
    home="samples/mnist",
    paper="031",
    cite="Bond-Taylor and Willcocks 2021",
    defaults="convention",
)


class GON(GradientOrigin, Deterministic):
    """Trained on the reconstruction from the gradient of the reconstruction."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        latent_dim: int = 32  # the paper
        activation: str = "elu"  # the paper

    def make_posterior(self, n_features: int) -> nn.Module:
        """The gradient is the code."""
        return nn.Identity()

    def inner(self, x: Tensor, origin: Tensor) -> Tensor:
        return self.distortion(x, origin)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        z = self.code(x)
        return {"loss": self.distortion(x, z).mean(), "size": z.square().sum(1).mean().detach()}
