"""Self-supervised variational autoencoder (Gatopoulos and Tomczak 2021): first a small version of the image, then the image.

    y_0 = x,  y_i = d_i(y_{i-1})       deterministic and again of grey levels, so that q(y|x) = delta(y - d(x)) has log-probability 0
    p(x, y, z, u) = p(u) p(y_K|u) prod_i p(z_i | y_i, above) p(y_{i-1} | y_i, z_i),      above = z_{i+1}, at the top u
    log p(x) >= E [ log p(y_K|u) + sum_i log p(y_{i-1} | y_i, z_i) + log p(u) - log q(u|y_K) + sum_i log p(z_i|..) - log q(z_i|y_{i-1}) ]

with one sample of each code. d is ``downscale`` (means of 2 x 2 pixels) or ``sketch`` (the length of Sobel's gradient), both rounded; a
list of several is a chain, and the empty list, as for vectors, a VAE with the same prior: a flow, or N(0, I) (``prior=normal``). y is a
code: bits per dimension are of the whole bound over the dimensions of x, and it is loose where p(x | y, z) has mass on images of other y.

Differences from the paper: dense networks of the family, for each level its own; one logistic a pixel with a learned scale instead of a
mixture of ten; as an image is not concatenated to maps of features, the logit of y scaled up is added to the output where d is
``downscale``; samples are means of every y and x, where the paper draws y (and with it the noise of independent pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import GreyLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.vae.base import ROWS, GaussianVAE
from elboard.methods.vae.chain import TRANSFORMS, Level, Top, log_density

CARD = MethodCard(
    name="selfvae",
    title="Self-supervised VAE",
    family="vae",
    home="generation/fashion-mnist",
    paper="084",
    cite="Gatopoulos and Tomczak 2021",
    splits=True,
    defaults="convention",
)


class SelfVAE(Method, Generator, GreyLikelihood):
    """Trained on the evidence lower bound of a chain of images."""

    @dataclass(kw_only=True)
    class Config(GaussianVAE.Config):
        transforms: list[Literal["downscale", "sketch"]] = field(default_factory=lambda: ["downscale"])
        prior: Literal["flow", "normal"] = "flow"
        couplings: Count = 4

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        shapes = [tuple(y.shape[1:]) for y in self.images(torch.zeros(1, *spec.shape))]
        self.top = Top(config, replace(spec, shape=shapes[-1]))
        parts = zip(shapes, shapes[1:], config.transforms, strict=False)
        self.levels = nn.ModuleList(Level(config, below, y, spec.levels, name == "downscale") for below, y, name in parts)

    def images(self, x: Tensor) -> list[Tensor]:
        """x and its transforms, all of the grey levels 0, 1 / (levels - 1), .., 1. Raises UserError for sides that cannot be halved."""
        chain, steps = [x], self.spec.levels - 1
        for name in self.config.transforms if len(self.spec.shape) == 3 else ():
            if name == "downscale" and any(side % 2 for side in chain[-1].shape[2:]):
                raise UserError(f"transforms={self.config.transforms}: images of {tuple(chain[-1].shape[2:])} cannot be halved")
            chain.append((TRANSFORMS[name](chain[-1]) * steps).round() / steps)
        return chain

    def prepare(self, data: Data) -> None:
        chain = self.images(data.train["x"])
        self.top.prepare(Data(self.top.spec, {"x": chain[-1]}))
        with torch.no_grad():
            for level, below in zip(self.levels, chain, strict=False):
                level.out.bias.copy_(0 * level.out.bias if level.skip else level.likelihood.initial_bias(below.flatten(1).mean(0)))

    def joint(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Of k samples of all codes the log-likelihoods of all images, and log p - log q of the codes, both ``(B, k)``."""
        *below, y = self.images(x)
        q = self.top.posterior(self.top.encoder(y))
        draw = q.sample(k)
        fit = self.top.likelihood.log_prob(y.flatten(1)[:, None], self.top.output(draw.z))
        ratio, above = self.top.prior.log_ratio(q, draw), draw.z
        for level, image in zip(reversed(self.levels), reversed(below), strict=True):
            q, p = level.posterior(level.encoder(image)), level.code(y, above)
            draw = q.sample(k)
            fit = fit + level.likelihood.log_prob(image.flatten(1)[:, None], level.output(y, draw.z))
            ratio = ratio + log_density(p, draw.z) - q.log_prob(draw)
            y, above = image, draw.z
        return fit, ratio

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        fit, ratio = self.joint(batch["x"], 1)
        return {"loss": -(fit + ratio).mean(), "elbo": (fit + ratio).mean(), "kl": -ratio.mean()}

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        fit, ratio = self.joint(x, 1)
        return {"elbo": (fit + ratio)[:, 0], "kl": -ratio[:, 0], "reconstruction": -fit[:, 0]}

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        at_once = max(1, ROWS // len(x))
        parts = [sum(self.joint(x, min(at_once, k - start))) for start in range(0, k, at_once)]
        return torch.logsumexp(torch.cat(parts, dim=1), dim=1) - math.log(k)

    def sample(self, n: int) -> Tensor:
        steps = self.spec.levels - 1
        above = self.top.prior.sample(n, like=self.top.out.weight)
        y = self.top.decode(above)
        for level in reversed(self.levels):
            y = (y * steps).round() / steps
            above = level.code(y, above[:, None]).sample().z[:, 0]
            y = level.likelihood.mean(level.output(y, above[:, None]))[:, 0].unflatten(1, level.below)
        return y
