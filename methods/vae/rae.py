"""Regularised autoencoder with a smooth decoder (Ghosh, Sajjadi, Vergari, Black and Scholkopf 2020, RAE-GP and RAE-SN).

    L(x) = -log p(x | g(f(x))) + beta |f(x)|^2 / 2 + lambda |dg / dz|_F^2 at z = f(x)           (``gradient``, RAE-GP)
    L(x) = -log p(x | g(f(x))) + beta |f(x)|^2 / 2,   each weight of g over its largest singular value   (``spectral``, RAE-SN)

The squared norm of the Jacobian is estimated without bias by |(dg / dz)^T v|^2 with v ~ N(0, I), one v an example. Samples come from a
mixture of Gaussians that is fitted to the codes afterwards. ``rae-l2`` has the penalty on weights.

Differences from the paper: the family's dense network; g is the likelihood's parameters (logits), not pixels; the distortion is minus the
log-likelihood of the task, where the paper has the squared error. Logits of pixels need slopes that a decoder with ``spectral`` has only
for long codes: at beta = 1 all of them are put out, and a smaller one is to be chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch, DataSpec
from elboard.methods.vae.deterministic import Deterministic

CARD = MethodCard(
    name="rae",
    title="Regularised autoencoder, gradient penalty or spectral norms",
    family="vae",
    home="samples/mnist",
    cite="Ghosh et al. 2020",
    defaults="convention",
)


class SmoothRAE(Deterministic):
    """Trained on the reconstruction with a penalty on codes and a decoder that is held smooth."""

    @dataclass(kw_only=True)
    class Config(Deterministic.Config):
        smooth: Literal["gradient", "spectral"] = "gradient"
        beta: NonNegative = 1.0  # that of the codes; of a summed log-likelihood as the VAE's
        weight: NonNegative = 1e-2  # lambda, of the gradient

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if config.smooth == "spectral":
            for part in (self.decoder, self.out):
                for module in part.modules():
                    if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                        spectral_norm(module)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, c = batch["x"], self.config
        z = self.code(x)
        distortion, size = self.distortion(x, z).mean(), 0.5 * z.square().sum(1).mean()
        loss = distortion + c.beta * size
        if c.smooth == "gradient":
            loss = loss + c.weight * self.slope(z).mean()
        return {"loss": loss, "distortion": distortion, "size": size}

    def slope(self, z: Tensor) -> Tensor:
        """One estimate an example of the squared norm of the decoder's Jacobian, ``(B,)``."""
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            out = self.output(z)
            return torch.autograd.grad((out * torch.randn_like(out)).sum(), z, create_graph=True)[0].square().sum(1)
