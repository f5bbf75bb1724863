"""What trained diffusions share: a network on a path from data to noise, its weighting, averaged weights, and samplers.

    x_t = alpha_t x_0 + sigma_t eps,   t ~ U(earliest, latest),   loss = E w(t) |target - network(x_t, t)|^2

The network gives the ``target`` (noise, data, score or velocity); each is the others by algebra
(:mod:`elboard.methods.parts.diffusion_paths`). The ``weighting`` is of the target's own error (``own``), of the error of the noise that
it amounts to (``noise``, so that the objective is the same one whatever the target), or that of the bound on the likelihood (``bound``:
minus the slope of log(alpha / sigma) times the error of the noise; Kingma et al. 2021, eq. 17). Means over dimensions.

Images are seen in [-1, 1], points in units of their standard deviation. Samples are of an average of the weights over steps (``ema``), as
validation and evaluation are. The network's input is divided by sqrt(alpha^2 + sigma^2), which is 1 on variance-preserving paths.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.averaging import follow
from elboard.methods.parts.diffusion_networks import TimeMLP, UNet
from elboard.methods.parts.diffusion_paths import View, path_of
from elboard.methods.parts.diffusion_solvers import EARLIEST, SAMPLERS, Model, SamplerName, Spacing, steps_for, times_of

CHUNK = 1000  # samples at a time


class Diffusion(Method):
    """Subclasses set the options' defaults, and say what is drawn."""

    n_classes = 0  # that the network knows

    @dataclass(kw_only=True)
    class Config(Method.Config):
        schedule: Literal["constant", "cosine"] = "cosine"
        path: Literal["vp-linear", "vp-cosine", "flow", "ve"] = "vp-linear"
        target: Literal["noise", "data", "score", "velocity"] = "noise"
        weighting: Literal["own", "noise", "bound"] = "own"
        hidden: list[Count] = field(default_factory=lambda: [128, 128, 128])  # of vectors
        width: Count = 16  # of images
        levels: Count = 2
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "ancestral"
        evaluations: Count = 100  # of the network for a sample
        spacing: Literal["time", "log-snr", "karras"] = "time"
        ema: Share = 0.999
        clip_data: bool = True  # of images, to the range of their levels

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.path = path_of(config.path)
        self.pixels = len(spec.shape) == 3
        self.network = self._network(config, spec)
        self.average: nn.Module = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("centre", torch.full(spec.shape, 0.5))
        self.register_buffer("scale", torch.tensor(0.5))
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average

    def _network(self, config: Any, spec: DataSpec) -> nn.Module:
        if self.pixels:
            return UNet(spec.shape, config.width, config.levels, self.n_classes)
        return TimeMLP(spec.shape, config.hidden, self.n_classes)

    def prepare(self, data: Data) -> None:
        if not self.pixels:
            x = data.train["x"]
            self.centre.copy_(x.mean(0))
            self.scale.copy_((x - x.mean(0)).square().mean().sqrt())

    # --- training ------------------------------------------------------------------------------

    def out(self, x_t: Tensor, t: Tensor, network: nn.Module | None = None, **known: Tensor | None) -> Tensor:
        """What the network gives for ``x_t`` (B, *shape) at times (B,)."""
        return (network or self.network)(x_t / self.path.magnitude(self.wide(t)), t, **known)

    def wide(self, t: Tensor) -> Tensor:
        """Times (B,) that broadcast against examples."""
        return t.view(-1, *[1] * len(self.spec.shape))

    def times(self, n: int) -> Tensor:
        """``n`` times, drawn uniformly."""
        return EARLIEST + (self.path.latest - EARLIEST) * torch.rand(n, device=self.centre.device)

    def errors(self, x: Tensor, t: Tensor, noise: Tensor, **known: Tensor | None) -> Tensor:
        """Weighted squared errors (B,) for clean ``x`` (B, *shape) in the network's units: means over dimensions."""
        path, time, kind = self.path, self.wide(t), self.config.target
        x_t = path.noised(x, noise, time)
        out = self.out(x_t, t, **known)
        if self.config.weighting == "own":
            return (path.target(kind, x, noise, time) - out).square().flatten(1).mean(1)
        found = (noise - path.view(kind, out, x_t, time).noise).square().flatten(1).mean(1)
        if self.config.weighting == "bound":
            d_alpha, d_sigma = path.slopes(t)
            found = (d_sigma / path.sigma(t) - d_alpha / path.alpha(t)) * found
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = (batch["x"] - self.centre) / self.scale
        return {"loss": self.errors(x, self.times(len(x)), torch.randn_like(x)).mean()}

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.averaged += 1
        follow(self.average, self.network, self.averaged, self.config.ema)

    # --- sampling ------------------------------------------------------------------------------

    def model(self, x_t: Tensor, t: Tensor, **known: Tensor | None) -> View:
        """Data and noise of ``x_t`` at the scalar time ``t``, by the averaged weights; data of images within their range."""
        return self.clipped(self.unclipped(x_t, t, **known), x_t, t)

    def unclipped(self, x_t: Tensor, t: Tensor, **known: Tensor | None) -> View:
        return self.path.view(self.config.target, self.out(x_t, t.expand(len(x_t)), self.average, **known), x_t, t)

    def clipped(self, seen: View, x_t: Tensor, t: Tensor) -> View:
        if not self.pixels or not self.config.clip_data:
            return seen
        data = seen.data.clamp(-1, 1)
        return View(data, (x_t - self.path.alpha(t) * data) / self.path.sigma(t))

    @torch.no_grad()
    def solved(self, model: Model, n: int, sampler: SamplerName, evaluations: int, spacing: Spacing) -> Tensor:
        """``n`` examples from noise by at most ``evaluations`` of ``model``."""
        like = self.centre
        times = times_of(self.path, steps_for(sampler, evaluations), spacing, dtype=like.dtype).to(like.device)
        noise = torch.randn(n, *self.spec.shape, device=like.device)
        return self.centre + self.scale * SAMPLERS[sampler](model, self.path, self.path.magnitude(times[0]) * noise, times)


class Unconditional(Diffusion, Generator):
    """Draws from the law of all training examples."""

    def drawn(self, n: int, sampler: SamplerName, evaluations: int, spacing: Spacing) -> Tensor:
        """``n`` examples in data units by at most ``evaluations`` of the network."""
        sizes = [min(CHUNK, n - i) for i in range(0, n, CHUNK)]
        return torch.cat([self.solved(self.model, size, sampler, evaluations, spacing) for size in sizes])

    def sample(self, n: int) -> Tensor:
        c = self.config
        return self.drawn(n, c.sampler, c.evaluations, c.spacing)
