"""Class-conditional denoising diffusion with classifier-free guidance (Ho and Salimans 2022), as Shah, Gromis and Pinto (2024) set it up.

    loss:    E |eps - eps_theta(x_t, t, c)|^2, c replaced by the class that stands for none with probability ``drop``
    samples: eps^ = eps_theta(x_t, none) + w (eps_theta(x_t, c) - eps_theta(x_t, none)),   w the option ``guidance``

w = 1 is no guidance: the conditional model alone, one evaluation of the network a step. Other weights take two; w = 0 does not know the
class. The range of images is imposed on what guidance gives, not on its parts. Several attributes are one class for each combination.

Which sampler draws (``sampler``, ``evaluations``) is no matter of training: :mod:`elboard.methods.diffusion.diffusion_sampler` compares
them on one trained network. Recipes: ``ddim`` (50 evaluations, Song et al. 2021), ``guided`` (w = 2), ``cosine`` (the path of Nichol and
Dhariwal 2021).

Differences from the report: 14 x 14 pixels and a network of 0.1 million weights; times are continuous, 100 steps instead of 1,000 and a
decay of 0.999 instead of 0.9999 of the average of the weights (see ``ddpm``); no latent variant, no quadratic or sigmoid schedule; the
report's own sizes and numbers were not at hand (not verified).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.conditional import ConditionalGenerator
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.diffusion.base import CHUNK, Diffusion
from elboard.methods.parts.diffusion_paths import View
from elboard.methods.parts.diffusion_solvers import SamplerName, Spacing, guided

CARD = MethodCard(
    name="ddpm-cfg",
    title="Denoising diffusion with classifier-free guidance",
    family="diffusion",
    home="conditional/mnist14",
    cite="Ho and Salimans 2022",
    splits=True,
    defaults="convention",
    recipes={
        "ddim": {"set": {"sampler": "ddim", "evaluations": 50}},
        "guided": {"set": {"guidance": 2.0}},
        "cosine": {"set": {"path": "vp-cosine"}},
    },
)


class DDPMCFG(Diffusion, ConditionalGenerator):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Diffusion.Config):
        drop: Share = 0.1  # the card of paper 097
        guidance: NonNegative = 1.0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        self.n_classes = math.prod(spec.attributes)
        super().__init__(config, spec, bases)

    def class_of(self, y: Tensor) -> Tensor:
        """The number (B,) of the combination of attributes ``y`` (B, K)."""
        found = torch.zeros_like(y[:, 0])
        for k, size in enumerate(self.spec.attributes):
            found = found * size + y[:, k]
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, y = (batch["x"] - self.centre) / self.scale, self.class_of(batch["y"])
        y = torch.where(torch.rand(len(y), device=y.device) < self.config.drop, self.n_classes, y)
        return {"loss": self.errors(x, self.times(len(x)), torch.randn_like(x), y=y).mean()}

    def drawn(self, y: Tensor, sampler: SamplerName, evaluations: int, spacing: Spacing, guidance: float) -> Tensor:
        """Examples (n, *shape) of the attributes ``y`` (n, K), by at most ``evaluations`` of the guided model."""

        def part(of: Tensor) -> Tensor:
            def conditional(x_t: Tensor, t: Tensor) -> View:
                return self.unclipped(x_t, t, y=of)

            mixed = conditional if guidance == 1 else guided(conditional, self.unclipped, guidance)
            return self.solved(lambda x_t, t: self.clipped(mixed(x_t, t), x_t, t), len(of), sampler, evaluations, spacing)

        return torch.cat([part(of) for of in self.class_of(y).split(CHUNK)])

    def sample(self, y: Tensor) -> Tensor:
        c = self.config
        return self.drawn(y, c.sampler, c.evaluations, c.spacing, c.guidance)
