"""What generators in latents share: stages of one training, latents of unit scale, and flow matching in them by one network.

    tokenizer:  x -> z -> x^,    for the first ``tokenizer`` of training (a subclass's own loss)
    generator:  z_t = (1 - t) z + t eps,   L = E |v(z_t, t, y) - (eps - z)|^2,   for the rest, with the tokenizer at rest

In the loss z is divided by its standard deviation in each channel over the training images, after its mean is taken off; both are found
once the tokenizer is at rest. Times are uniform (SiT) or logistic-normal, and moved by t' = s t / (1 + (s - 1) t) towards noise, those of
sampling alike, which is by Euler's method. Classes are dropped for one image in ten; samples have no guidance unless asked for. All
methods have the same transformer, rate, number of steps and averaged weights, so that what differs is the latents.

Rates fall by a cosine within each stage. Losses of a stage have no gradients for what other stages train.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.latents import LatentGenerator
from elboard.bench.kinds.selfsup import MapEncoder
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Range, Share
from elboard.bench.task import Batch, Data
from elboard.methods.latents.networks import DiT
from elboard.methods.parts.averaging import follow

CHUNK = 500  # images at a time
TINY = 1e-6


def moved(t: Tensor, shift: float) -> Tensor:
    """Times in [0, 1], 1 being noise, towards it for ``shift`` > 1; with its inverse back again."""
    return shift * t / (1 + (shift - 1) * t)


class LatentFlow(Method, LatentGenerator):
    """A subclass calls :meth:`generate_in` once it knows the shape of its latents, and gives :meth:`encoded`, :meth:`decode` and
    :meth:`tokenizer_loss`."""

    resting = True  # the tokenizer, or the generator
    at_rest = False  # whether the tokenizer is, as far as this process has seen

    @dataclass(kw_only=True)
    class Config(Method.Config):
        schedule: Literal["constant", "cosine"] = "cosine"
        tokenizer: Annotated[float, Range(0, below=1)] = 0.3  # share of training
        width: Count = 64
        depth: Count = 3
        heads: Count = 4
        times: Literal["uniform", "logit-normal"] = "uniform"  # SiT's
        shift: NonNegative = 1.0  # s; 0: sqrt(C / 16) of C channels (Zhang et al. 2025)
        drop: Share = 0.1  # of classes; DiT's and SiT's
        guidance: NonNegative = 1.0  # 1: none
        ema: Share = 0.999

    spec: ClassSpec

    def generate_in(self, channels: int, grid: tuple[int, int]) -> None:
        """Build the generator of latents ``(B, channels, *grid)``."""
        c = self.config
        self.shift = c.shift or (channels / 16) ** 0.5
        self.network = DiT(channels, grid, self.spec.n_classes, c.width, c.depth, c.heads)
        self.average: nn.Module = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average
        self.register_buffer("settled", torch.zeros(()))  # whether the two below are those of the tokenizer at rest
        self.register_buffer("centre", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    # --- what a subclass defines -----------------------------------------------------------------------

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents (B, C, h, w), and their log-variances where they are random."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents, not limited to [0, 1]."""
        raise NotImplementedError

    def tokenizer_loss(self, x: Tensor) -> dict[str, Tensor]:
        """Of images, in the stages before the last one."""
        raise NotImplementedError

    def ends(self) -> tuple[float, ...]:
        """Where the stages of the tokenizer end, as shares of training."""
        return (self.config.tokenizer,)

    # --- training --------------------------------------------------------------------------------------

    @property
    def stage(self) -> int:
        """0 for the first one; as many as the tokenizer has for that of the generator."""
        return sum(self.progress >= end for end in self.ends())

    @property
    def generating(self) -> bool:
        return self.stage == len(self.ends())

    def lr_factor(self, progress: float) -> float:
        bounds = (0.0, *self.ends(), 1.0)
        first = max(i for i, start in enumerate(bounds[:-1]) if progress >= start)
        return super().lr_factor((progress - bounds[first]) / (bounds[first + 1] - bounds[first]))

    def prepare(self, data: Data) -> None:
        self.__dict__["shown"] = data.train["x"]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if self.generating and not self.at_rest:  # the buffer is asked once, as that waits for the device
            self.at_rest = True
            if not self.settled:
                self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Mean and standard deviation of the latents of training images in each channel, of draws where they are random."""
        total = [self.centre.new_zeros(len(self.centre), dtype=torch.float64) for _ in range(2)]
        places = 0
        for part in self.shown.split(CHUNK):
            z, logvar = self.encoded(part.to(self.centre))
            square = z.double().square() + (0 if logvar is None else logvar.double().exp())
            for of, value in zip(total, (z.double(), square), strict=True):
                of += value.sum((0, 2, 3))
            places += z[:, 0].numel()
        mean = total[0] / places
        self.centre.copy_(mean[:, None, None])
        self.scale.copy_((total[1] / places - mean.square()).clamp_min(TINY**2).sqrt()[:, None, None])
        self.settled.fill_(1)

    def drawn_times(self, n: int) -> Tensor:
        like = self.centre
        t = torch.rand(n, device=like.device) if self.config.times == "uniform" else torch.randn(n, device=like.device).sigmoid()
        return moved(t, self.shift)

    def flow_loss(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Of images ``x`` (B, ...) of classes ``y``."""
        with torch.no_grad():
            z, logvar = self.encoded(x)
            z = z if logvar is None else z + (0.5 * logvar).exp() * torch.randn_like(z)
            z = (z - self.centre) / self.scale
        t, noise = self.drawn_times(len(z)), torch.randn_like(z)
        dropped = torch.rand(len(y), device=y.device) < self.config.drop
        at = t[:, None, None, None]
        error = self.network((1 - at) * z + at * noise, t, y.masked_fill(dropped, self.spec.n_classes)) - (noise - z)
        loss = error.square().mean()
        return {"loss": loss, "velocity": loss.detach()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.flow_loss(batch["x"], batch["y"]) if self.generating else self.tokenizer_loss(batch["x"])

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        if self.generating:
            self.averaged += 1
            follow(self.average, self.network, self.averaged, self.config.ema)

    # --- what the task asks for ------------------------------------------------------------------------

    def latents(self, x: Tensor) -> Tensor:
        return self.encoded(x)[0]

    def reconstructed(self, x: Tensor) -> Tensor:
        return self.decode(self.latents(x)).clamp(0, 1)

    def velocity(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """By the averaged weights at times (B,), u + w (c - u) of no class and of ``y`` with guidance w."""
        of, w = self.average(z, t, y), self.config.guidance
        if w == 1:
            return of
        without = self.average(z, t, torch.full_like(y, self.spec.n_classes))
        return without + w * (of - without)

    def steps(self, n: int) -> Iterator[tuple[float, float]]:
        """Beginning and length of each of ``n`` steps from time 1 to 0."""
        times = moved(torch.linspace(1, 0, n + 1, dtype=torch.float64), self.shift).tolist()
        yield from ((t, t - s) for t, s in zip(times[:-1], times[1:], strict=True))

    @torch.no_grad()
    def drawn(self, y: Tensor, steps: int) -> Tensor:
        z = torch.randn(len(y), len(self.centre), *self.network.grid, device=self.centre.device)
        for t, length in self.steps(steps):
            z = z - length * self.velocity(z, torch.full((len(z),), t, device=z.device), y)
        return self.decode(self.centre + self.scale * z).clamp(0, 1)


class OnFeatures(LatentFlow):
    """One that starts from a frozen encoder, the run ``encoder``. Raises UserError if that has no features at places."""

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, MapEncoder):
            raise UserError(f"{type(self.base).__name__} has no features at places: simclr has")

    def features(self, x: Tensor) -> Tensor:
        """Of the frozen encoder, ``(B, C, h, w)``; no gradient flows into it."""
        with torch.no_grad():
            return self.base.feature_map(x)
