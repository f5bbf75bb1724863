"""DiffuseVAE: a diffusion that refines what a variational autoencoder draws (Pandey, Mukherjee, Rai and Kumar 2022).

    x^ = D(z),  z ~ q(z|x) in training and p(z) in sampling,   D the decoder of the run ``vae``, which stays as it is

    concatenated (formulation 1):  x_t = alpha_t x_0 + sigma_t eps              the network sees x_t and x^ side by side
    shifted (formulation 2):       x_t = alpha_t x_0 + x^ + sigma_t eps         the network sees x_t alone, or x^ too: ``both``
    L = E |eps - eps_theta(x_t, t, x^)|^2

Of formulation 2 the noise ends at x_T ~ N(x^, I), and q(x_s | x_t, x_0) has the mean c1 x_0 + c2 x_t + (1 - c2) x^. So x_t - x^ is an
ordinary diffusion of x_0: loss and samplers are those of ``ddpm`` in these coordinates (``x_t`` in the code), and all that changes is what
the network is shown. At the end x^ is taken off with that, as x_0 + x^ is where the shifted process ends.

The first stage is trained on the squared error summed over values plus a KL of weight a = 1: half of that is the loss of
``computed-gamma-vae`` with its variance fixed at 1 and a / 2 of the KL. x^ is rescaled to the range of the diffusion, [-1, 1] of images.

Differences from the paper: a = 196 / 3072, so that the mean squared error counts against the KL as it does with the 3,072 values of
CIFAR-10 (with a = 1 two of 16 units carry more than a nat); 14 x 14 pixels, a code of 16 instead of 512 numbers, a dense first stage
at a rate of 1e-3 instead of 1e-4; the diffusion is as ``ddpm`` is, with networks of 0.08 million weights, continuous times, a rate that
falls from 1e-3 as a cosine instead of 2e-4 after a warm-up, gradients of any norm, no dropout and no flips, and a decay of 0.999 of the
averaged weights. Without the optional dropping of x^ in training and guidance by it. Codes of another density are drawn by
:mod:`elboard.methods.diffusion.diffusevae_sampler`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.diffusion.base import CHUNK, Unconditional
from elboard.methods.parts.diffusion_networks import UNet
from elboard.methods.parts.diffusion_paths import View
from elboard.methods.parts.diffusion_solvers import SamplerName, Spacing

CARD = MethodCard(
    name="diffusevae",
    title="Diffusion that refines draws of a VAE",
    family="diffusion",
    home="samples/fashion14",
    paper="108",
    cite="Pandey et al. 2022",
    bases={
        "vae": {
            "method": "computed-gamma-vae",
            "task": {"samples/fashion14": "samples/fashion14", "samples/mnist14": "samples/mnist14"},
            "set": {"gamma": "fixed", "kl_factor": 0.032, "latent_dim": 16},
        }
    },
    splits=True,
    defaults="convention",
    recipes={"formulation-2": {"set": {"formulation": "shifted"}}},
)


class DiffuseVAE(Unconditional):
    """See the module. Raises UserError if ``vae`` has no codes or draws nothing."""

    @dataclass(kw_only=True)
    class Config(Unconditional.Config):
        formulation: Literal["concatenated", "shifted", "both"] = "concatenated"
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "ddim"
        evaluations: Count = 10  # the abstract's, of CelebA-HQ

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, LatentModel) or not isinstance(self.base, Generator):
            raise UserError(f"{type(self.base).__name__} has no codes to draw and to decode: vae or computed-gamma-vae has")

    def _network(self, config: Any, spec: DataSpec) -> nn.Module:
        return UNet(spec.shape, config.width, config.levels, beside=config.formulation != "shifted")

    @torch.no_grad()
    def reconstruction(self, x: Tensor) -> Tensor:
        """D(z) (B, *shape), z ~ q(z|x), of ``x`` (B, *shape); both in data units."""
        mean, logvar = self.base.encode(x)
        return self.base.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))

    def scaled(self, x: Tensor) -> Tensor:
        """Data units to those of the diffusion."""
        return (x - self.centre) / self.scale

    def out(self, x_t: Tensor, t: Tensor, network: nn.Module | None = None, seen: Tensor | None = None) -> Tensor:
        """What the network gives where x^ is ``seen`` (B, *shape), scaled; none is 0. ``x_t`` is without the shift."""
        seen, c = torch.zeros_like(x_t) if seen is None else seen, self.config
        known = {} if c.formulation == "shifted" else {"beside": seen}
        return super().out(x_t if c.formulation == "concatenated" else x_t + seen, t, network, **known)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, seen = self.scaled(batch["x"]), self.scaled(self.reconstruction(batch["x"]))
        return {"loss": self.errors(x, self.times(len(x)), torch.randn_like(x), seen=seen).mean()}

    def refined(self, rough: Tensor, sampler: SamplerName, evaluations: int, spacing: Spacing) -> Tensor:
        """Examples (n, *shape) for decoded codes ``rough`` (n, *shape), all in data units, by at most ``evaluations`` of the network."""

        def part(seen: Tensor) -> Tensor:
            def model(x_t: Tensor, t: Tensor) -> View:
                return self.model(x_t, t, seen=seen)

            return self.solved(model, len(seen), sampler, evaluations, spacing)

        return torch.cat([part(of) for of in self.scaled(rough).split(CHUNK)])

    @torch.no_grad()
    def drawn(self, n: int, sampler: SamplerName, evaluations: int, spacing: Spacing) -> Tensor:
        return self.refined(self.base.sample(n), sampler, evaluations, spacing)
