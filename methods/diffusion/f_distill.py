"""f-distill: a one-step generator from a diffusion, by any f-divergence of noised laws (Xu, Nie and Vahdat 2025).

    min E_t D_f(p_t || q_t),   D_f(p || q) = int q f(p / q),   p_t, q_t the laws of noised teacher's and student's samples
    grad_theta D_f = -E[ h(r) (score_p(x_t) - score_q(x_t)) dx_t / dtheta ],   r = p_t / q_t,   h(r) = r^2 f''(r)                 (theorem)

    rkl: 1    kl: r    js: r / (1 + r)    sf: 1 / (1 + r)    neyman: 1 / r    sh: sqrt(r)    jf: 1 + r                 (constants dropped)

rkl is distribution matching distillation, DMD (Yin et al. 2024), whose weight does not see the ratio. Every ``every``-th step is the
student's,

    x = G(noise) in one evaluation,   x_t = alpha_t x + sigma_t eps,   l = D(x_t, t),   r = clip(exp l, 0.1, 20)
    r <- r / (mean of r in its tenth of the times),   h <- h(r) / (mean of h over the batch),   w = 1 / mean |x - teacher(x_t)|
    L_G = mean |x - sg[x - w h (fake(x_t) - teacher(x_t))]|^2 / 2 + gan softplus(-l)

and the others train, on fresh samples, the fake score by the teacher's own loss and D to tell noised samples from noised data; teacher and
fake give clean data. No gradient passes r, h or w. D is real against fake, so that e^l is data over samples: teacher over student where the
teacher is good. Of images D is a head on what the teacher's network has in its middle; of vectors a network of its own.

One optimiser steps all: neither loss has gradients for the other's weights. :meth:`FDistill.training_step` is overridden for the turns.

Differences from the paper: the teacher is flow matching on straight paths, whose velocities give clean data at both ends, instead of EDM
(``base.method=ddpm`` takes another); times are uniform, as in the teacher's training (the paper's not verified); vectors have a student of
a size of its own, which starts untrained (:mod:`elboard.methods.diffusion.one_step`); means over a tenth of the times are those of the
batch, without memory; rates are the teacher's, as training is a hundredth as long.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, NonNegative, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.diffusion.one_step import OneStep
from elboard.methods.parts.diffusion_networks import TimeMLP
from elboard.methods.parts.diffusion_solvers import EARLIEST

CARD = MethodCard(
    name="f-distill",
    title="One-step generator by f-divergence distillation",
    family="diffusion",
    home="samples/toy-2d",
    paper="092",
    cite="Xu, Nie and Vahdat 2025",
    bases={"teacher": {"method": "flow-matching"}},
    defaults="convention",
    recipes={"dmd": {"set": {"divergence": "rkl"}}},
)
H = {
    "rkl": torch.ones_like,
    "kl": lambda r: r,
    "js": lambda r: r / (1 + r),
    "sf": lambda r: 1 / (1 + r),
    "neyman": lambda r: 1 / r,
    "sh": torch.sqrt,
    "jf": lambda r: 1 + r,
}
LOGIT, LEAST, MOST, BINS, TINY = 10.0, 0.1, 20.0, 10, 1e-6  # bounds of l and r, parts of the times, and what keeps quotients finite


def weights(divergence: str, logits: Tensor, when: Tensor) -> Tensor:
    """h (B,) after both normalisations, of logits (B,) and the share (B,) of the times that lies before each; mean 1."""
    r = at_least_single(logits).clamp(-LOGIT, LOGIT).exp().clamp(LEAST, MOST)
    part = (when * BINS).long().clamp(0, BINS - 1)
    sums, counts = (r.new_zeros(BINS).index_add(0, part, of) for of in (r, torch.ones_like(r)))
    h = H[divergence](r / (sums[part] / counts[part] + TINY))
    return h / (h.mean() + TINY)


def distillation(x: Tensor, weight: Tensor, difference: Tensor) -> Tensor:
    """A scalar whose gradient by ``x`` (B, *shape) is ``weight`` (B,) times ``difference`` (B, *shape), fake minus teacher, over their
    number: descent takes the student from what its own noised law sees towards what the teacher sees."""
    x = at_least_single(x)  # half precision would round the step away
    step = weight.view(-1, *[1] * (x.ndim - 1)) * difference
    return 0.5 * (x - (x - step).detach()).square().mean()


class Head(nn.Module):
    """Logits at each place of feature maps (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, 1, 1)
        )

    def forward(self, features: Tensor, t: Tensor) -> Tensor:
        return self.layers(features)


class FDistill(OneStep):
    """See the module."""

    resting = True  # the student, or all else

    @dataclass(kw_only=True)
    class Config(OneStep.Config):
        divergence: Literal["rkl", "kl", "js", "sf", "neyman", "sh", "jf"] = "js"  # of the code, beyond CIFAR-10
        every: Annotated[int, Range(2)] = 5  # steps, of which one is the student's; the code's
        gan: NonNegative = 1e-3  # ditto
        judge: list[Count] = field(default_factory=lambda: [128, 128])  # of D of vectors

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        trained = self.teacher.average
        self.fake = copy.deepcopy(trained).requires_grad_(True).train()
        self.judge = Head(trained.middle.conv2.out_channels) if self.teacher.pixels else TimeMLP(spec.shape, config.judge)

    def taught(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's clean data, and what D is given of ``x_t``."""
        network = self.teacher.average
        if not self.teacher.pixels:
            return self.data(network, x_t, t), x_t / self.teacher.path.magnitude(self.teacher.wide(t))
        kept: list[Tensor] = []
        with network.middle.register_forward_hook(lambda module, given, out: kept.append(out)):
            return self.data(network, x_t, t), kept[0]

    def logit(self, given: Tensor, t: Tensor, fixed: bool = False) -> Tensor:
        """l (B,), the mean of D's logits; ``fixed``: its weights count as constants."""
        known = {name: p.detach() if fixed else p for name, p in self.judge.named_parameters()}
        return functional_call(self.judge, known, (given, t)).flatten(1).mean(1)

    def student_loss(self, n: int) -> Tensor:
        of, x = self.teacher, self.made(self.student, n)
        t = of.times(n)
        x_t = of.path.noised(x, torch.randn_like(x), of.wide(t))
        teacher, given = self.taught(x_t, t)
        logit = self.logit(given, t, fixed=True)
        with torch.no_grad():
            h = weights(self.config.divergence, logit, (t - EARLIEST) / (of.path.latest - EARLIEST))
            w = 1 / ((x - teacher).abs().flatten(1).mean(1) + TINY)
            difference = self.data(self.fake, x_t, t) - teacher
        return distillation(x, w * h, difference) + self.config.gan * F.softplus(-logit).mean()

    def others_loss(self, x: Tensor) -> dict[str, Tensor]:
        """Of the fake score and of D, for data ``x`` (B, *shape) in the teacher's units."""
        of, t, noise = self.teacher, self.teacher.times(len(x)), torch.randn_like(x)
        with torch.no_grad():
            made = self.made(self.student, len(x))
            pairs = (made, noise), (x, torch.randn_like(x))
            given = [self.taught(of.path.noised(part, eps, of.wide(t)), t)[1] for part, eps in pairs]
        score = of.errors(made, t, noise, network=self.fake).mean()
        told = F.softplus(self.logit(given[0], t)).mean() + F.softplus(-self.logit(given[1], t)).mean()
        return {"loss": score + told, "fake": score.detach(), "discriminator": told.detach()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Of all."""
        out = self.others_loss((batch["x"] - self.teacher.centre) / self.teacher.scale)
        return {**out, "loss": out["loss"] + self.student_loss(len(batch["x"]))}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if (self.global_step + 1) % self.config.every == 0:
            return self.student_loss(len(batch["x"]))  # a value that says nothing: curves have that of the others
        out = self.others_loss((batch["x"] - self.teacher.centre) / self.teacher.scale)
        self.accumulate(out)
        return out["loss"]
