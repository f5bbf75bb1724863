"""Multi-modal latent diffusion (Bounoua, Franzese and Michiardi 2024): one masked diffusion of the codes of all modalities.

    z = standardised (e_1(x_1), .., e_M(x_M)),   z_t = m(t) z + s(t) eps,   m = exp(-t^2 19.9 / 4 - t 0.1 / 2),   s^2 = 1 - m^2
    joint:   E |eps - eps_theta(z_t; t, .., t)|^2 / D
    masked:  E |(1 - M) (eps - eps_theta(M z + (1 - M) z_t; t_1 .. t_M))|^2 / D (1 + D_S / (D - D_S)),   t_j = 0 in S and t elsewhere

One coin a batch: with probability ``masked`` (d = 0.5) some modalities S, any proper subset alike, stay clean, with mask M and D_S of the D
dimensions. Autoencoders are those of the run ``autoencoders``, frozen. Samples are of the reverse equation by Euler and Maruyama, what
is given clean at each step and with time 0:

    z <- z - dt (-beta z / 2 - beta score) + sqrt(beta dt) n,   score = -eps_theta / s

Variants. ``mld-inpaint`` (recipe): trained jointly alone; what is given is noised anew to the present time at each step, and with
``resamples`` a step is taken back and done again (RePaint). ``mld-uni`` (recipe): ``times`` "shared", the network is told t for all
modalities, also for those that are clean. (Were these noised to the same t too, the training would be that of mld-inpaint.)

Differences from the paper: its network is a U-Net of linear blocks, this one has residual blocks of one layer, of the same width (256) and
normalisation; learning rate 1e-3 with a cosine instead of 1e-4, as training is a tenth as long; 100 steps instead of 250, no noise in the
last one; eps instead of -eps is predicted; t is drawn uniformly, not by importance. Plain steps for what is given, where released runs
resample ten times (``resamples``). On ``multimodal/poly-digits`` 28,000 samples are drawn given sets of modalities, and a run takes two
minutes of one core.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.multimodal import MultimodalGenerator, MultimodalSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch
from elboard.methods.multimodal.base import powerset
from elboard.methods.parts.averaging import follow
from elboard.methods.parts.diffusion_networks import TimesMLP
from elboard.methods.parts.diffusion_paths import VPLinear
from elboard.methods.parts.diffusion_solvers import times_of

CARD = MethodCard(
    name="mld",
    title="Multi-modal latent diffusion",
    family="multimodal",
    home="multimodal/digits",
    paper="116",
    cite="Bounoua, Franzese and Michiardi 2024",
    bases={"autoencoders": {"method": "multimodal-autoencoder"}},
    defaults="convention",
    recipes={"mld-inpaint": {"set": {"masked": 0.0, "condition": "inpaint"}}, "mld-uni": {"set": {"times": "shared"}}},
)
EARLIEST = 1e-6  # of the paper


class MLD(Method, MultimodalGenerator):
    """See the module."""

    spec: MultimodalSpec

    @dataclass(kw_only=True)
    class Config(Method.Config):
        schedule: Literal["constant", "cosine"] = "cosine"
        width: Count = 256  # the paper's
        blocks: Count = 3
        masked: Share = 0.5  # d of the paper
        times: Literal["by-modality", "shared"] = "by-modality"
        condition: Literal["masked", "inpaint"] = "masked"
        steps: Count = 100
        resamples: Count = 1  # of each step, for what is given
        ema: Share = 0.999

    def __init__(self, config: Any, spec: MultimodalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.path = VPLinear()
        self.network = TimesMLP(len(self.base.mean), len(spec.modalities), config.width, config.blocks)
        self.average: nn.Module = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average

    # --- training ----------------------------------------------------------------------------------------

    def standardised(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Codes of unit variance in each dimension, ``(B, D)``."""
        with torch.no_grad():
            return (self.base.codes(batch) - self.base.mean) / self.base.covariance.diagonal().sqrt()

    def drawn_given(self) -> Tensor:
        """Which modalities (M,) stay clean in a batch."""
        subsets = powerset(len(self.spec.modalities))[:-1]
        if torch.rand(()) >= self.config.masked or not len(subsets):
            return torch.zeros(len(self.spec.modalities), dtype=torch.bool, device=self.device)
        return subsets[torch.randint(len(subsets), ())].to(self.device)

    def wide(self, given: Tensor) -> Tensor:
        """Of modalities (M,) the dimensions (D,)."""
        return given.repeat_interleave(len(self.base.mean) // len(given))

    def times_for(self, t: Tensor, given: Tensor) -> Tensor:
        """The times ``(B, M)`` that the network is told, of ``t`` (B,)."""
        times = t[:, None].expand(-1, len(given))
        return times if self.config.times == "shared" else times.masked_fill(given, 0.0)

    def error(self, z: Tensor, t: Tensor, noise: Tensor, given: Tensor) -> Tensor:
        """The loss of codes ``z`` (B, D) at times (B,) where the modalities ``given`` (M,) stay clean."""
        known, n = self.wide(given), z.shape[1]
        noised = torch.where(known, z, self.path.noised(z, noise, t[:, None]))
        squared = (noise - self.network(noised, self.times_for(t, given))).square()
        return (squared * ~known).mean() * (1 + known.sum() / (n - known.sum()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.standardised(batch)
        t = EARLIEST + (1 - EARLIEST) * torch.rand(len(z), device=z.device)
        return {"loss": self.error(z, t, torch.randn_like(z), self.drawn_given())}

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.averaged += 1
        follow(self.average, self.network, self.averaged, self.config.ema)

    # --- sampling ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def noise_of(self, z: Tensor, t: Tensor, given: Tensor) -> Tensor:
        """eps by the averaged weights at the scalar time ``t``."""
        return self.average(z, self.times_for(t.expand(len(z)), given))

    def step(self, z: Tensor, t: Tensor, s: Tensor, clean: Tensor, given: Tensor) -> Tensor:
        """From time ``t`` to ``s`` by the reverse equation, but for its noise; ``clean`` (B, D) is known where modalities are ``given``."""
        known = self.wide(given)
        if self.config.condition == "inpaint" and given.any():
            z = torch.where(known, self.path.noised(clean, torch.randn_like(z), t), z)
            noise = self.noise_of(z, t, torch.zeros_like(given))
        else:
            z = torch.where(known, clean, z)
            noise = self.noise_of(z, t, given)
        f, beta = self.path.drift(t)
        return z - (t - s) * (f * z + beta * noise / self.path.sigma(t))

    def solved(self, clean: Tensor, given: Tensor) -> Tensor:
        """Codes ``(B, D)`` of which the modalities ``given`` are those of ``clean``."""
        times = times_of(self.path, self.config.steps, "time", EARLIEST).to(clean.device)
        z, again = torch.randn_like(clean), self.config.resamples if given.any() else 1
        for t, s in pairwise(times):
            for left in reversed(range(again)):
                z = self.step(z, t, s, clean, given)
                if s > times[-1]:
                    z = z + ((t - s) * self.path.drift(t)[1]).sqrt() * torch.randn_like(z)
                if left:  # back to t by the forward equation
                    kept = self.path.alpha(t) / self.path.alpha(s)
                    spread = (self.path.sigma(t).square() - (kept * self.path.sigma(s)).square()).sqrt()
                    z = kept * z + spread * torch.randn_like(z)
        return torch.where(self.wide(given), clean, z)

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        return self.base.decode(self.base.mean + self.base.covariance.diagonal().sqrt() * z)

    def sample_joint(self, n: int) -> dict[str, Tensor]:
        nothing = torch.zeros(n, len(self.base.mean), device=self.device)
        return self.decode(self.solved(nothing, torch.zeros(len(self.spec.modalities), dtype=torch.bool, device=self.device)))

    def sample_given(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        there = torch.tensor([name in given for name in self.spec.names], device=self.device)
        return self.decode(self.solved(self.standardised(given), there))
