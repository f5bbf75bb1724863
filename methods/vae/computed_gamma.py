"""VAE with a computed decoder variance (Asperti and Trentin 2020).

    loss = k KL(q(z|x) || p(z)) + sum_i { (x_i - x^_i)^2 / (2 gamma^2) + log gamma + log(2 pi) / 2 }
    after each batch:   m <- min(m, 0.99 m + 0.01 MSE(batch)),   gamma <- sqrt(m),   m = 1 at the start

gamma^2 is the running mean squared error a pixel, its maximum-likelihood value, and never grows: the balance of reconstruction and KL stays
while reconstructions improve. ``gamma=learned`` is the loss of Dai and Wipf 2019, where gradients find gamma: an ordinary VAE of real
vectors. ``gamma=fixed`` keeps it at 1.

Differences from the paper: fully connected networks, shared by the family, with a linear output instead of residual ones with a sigmoid;
k = 1, the value of the released code, (2 side / latent_dim)^2, for its 32 x 32 images and 64 units; a constant rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.likelihoods import Gaussian
from elboard.methods.vae.real import RealVAE

CARD = MethodCard(
    name="computed-gamma-vae",
    title="VAE with a computed decoder variance",
    family="vae",
    home="density/mnist-real",
    paper="026",
    cite="Asperti and Trentin 2020",
    defaults="convention",
)


class GivenNoise(Gaussian):
    """A Gaussian whose deviation gamma no gradient changes; 1 at the start."""

    def __init__(self) -> None:
        super().__init__()
        del self.log_std
        self.register_buffer("log_std", torch.zeros(()))

    @torch.no_grad()
    def follow(self, error: Tensor, decay: float) -> None:
        """Take in the mean squared error of a batch: gamma^2 becomes the running mean, where that is smaller."""
        variance = torch.exp(2 * self.log_std)
        self.log_std.copy_(0.5 * torch.minimum(variance, decay * variance + (1 - decay) * error).log())


class ComputedGammaVAE(RealVAE):
    """Trained on the bound of a decoder whose variance is the current error."""

    @dataclass(kw_only=True)
    class Config(RealVAE.Config):
        gamma: Literal["computed", "learned", "fixed"] = "computed"  # or learned (Dai and Wipf 2019), fixed (at 1)
        decay: Annotated[float, Range(0, below=1)] = 0.99  # the released code
        kl_factor: NonNegative = 1.0  # k

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self._error: Tensor | None = None

    def make_likelihood(self) -> nn.Module:
        return Gaussian() if self.config.gamma == "learned" else GivenNoise()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, q = batch["x"].flatten(1), self.posterior(self.encoder(batch["x"]))
        draw = q.sample()
        output = self.output(draw.z)
        reconstruction, kl = -self.likelihood.log_prob(x, output).mean(), self.prior.divergence(q, draw).mean()
        loss = reconstruction + self.config.kl_factor * kl
        return {"loss": loss, "elbo": -reconstruction - kl, "kl": kl, "mse": (x - output).square().mean()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self.loss(batch)
        self.accumulate(out)
        self._error = out["mse"].detach()
        return out["loss"]

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        """After the step, as in the paper: the loss of a batch is of the gamma before it."""
        if self.config.gamma == "computed":
            self.likelihood.follow(self._error, self.config.decay)
