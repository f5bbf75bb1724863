"""Draws of a trained DiffuseVAE by the evaluations of its network, from codes of the prior or of a fitted density (Pandey et al. 2022).

    normal:   z ~ N(0, I), as the VAE draws them
    mixture:  z ~ sum_k w_k N(m_k, C_k), fitted to the posterior means of training examples (ex-post density, Ghosh et al. 2020)
    x^ = D(z), refined by DDIM in as many steps as are paid for

In training the diffusion has seen decoded draws of q(z|x), whose aggregate is not the prior: a density of what is encoded mends that.
Neither VAE nor diffusion is trained here: both densities are of one run ``model``.

Differences from the paper: 20 components, as for a code of 16 numbers and 20,000 images (the paper: 100).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import LatentModel
from elboard.bench.options import Count
from elboard.bench.task import Data
from elboard.methods.diffusion.diffusevae import DiffuseVAE
from elboard.methods.diffusion.unconditional_sampler import UnconditionalSampler
from elboard.methods.parts.mixtures import GaussianMixture

CARD = MethodCard(
    name="diffusevae-sampler",
    title="Draws of a trained DiffuseVAE",
    family="diffusion",
    home="sampling/fashion14",
    paper="108",
    cite="Pandey et al. 2022",
    bases={"model": {"method": "diffusevae", "task": {"sampling/fashion14": "samples/fashion14"}}},
    defaults="convention",
    recipes={"mixture": {"set": {"latents": "mixture"}}},
)
CHUNK = 1000  # images at a time


class DiffuseVAESampler(UnconditionalSampler):
    """See the module."""

    of = DiffuseVAE

    @dataclass(kw_only=True)
    class Config(UnconditionalSampler.Config):
        latents: Literal["normal", "mixture"] = "normal"
        components: Count = 20  # of the mixture

    @property
    def vae(self) -> LatentModel:
        return self.base.base

    @torch.no_grad()
    def means(self, x: Tensor) -> Tensor:
        """Of q(z|x), (N, Z)."""
        return torch.cat([self.vae.encode(part.to(self.base.device))[0] for part in x.split(CHUNK)])

    def prepare(self, data: Data) -> None:
        if self.config.latents == "mixture":
            size = self.means(data.train["x"][:1]).shape[1]
            self.mixture = GaussianMixture(size, self.config.components)

    def fit(self, data: Data, training: Any) -> None:
        if self.config.latents == "mixture":
            self.mixture.fit(self.means(data.train["x"]))

    @torch.no_grad()
    def sample_in(self, n: int, evaluations: int) -> Tensor:
        if self.config.latents == "normal":
            return super().sample_in(n, evaluations)
        rough = self.vae.decode(self.mixture.sample(n, like=self.base.centre))
        return self.base.refined(rough, self.config.sampler, evaluations, self.config.spacing)
