"""The bound of a variational diffusion in T steps whose score is exact (Luo 2022).

    log p(x_0) >= E[log p(x_0|x_1)] - KL(q(x_T|x_0) || p(x_T)) - sum_(t=2..T) E[KL(q(x_(t-1)|x_t,x_0) || p(x_(t-1)|x_t))]     (eq. 58)

with a_t = abar_t / abar_(t-1), abar_t = alpha^2 at t / T, and the same variance s_t^2 in both Gaussians of a term (eq. 85),

    KL_t = abar_(t-1) (1 - a_t)^2 / (1 - abar_t)^2 |data^ - x_0|^2 / (2 s_t^2)             by the data    (eq. 99)
         = (1 - a_t)^2 / ((1 - abar_t) a_t) |noise^ - eps|^2 / (2 s_t^2)                   by the noise   (eq. 130)
         = (1 - a_t)^2 / a_t |score^ - grad log q(x_t|x_0)|^2 / (2 s_t^2)                  by the score   (eq. 148)
         = (SNR(t-1) - SNR(t)) |data^ - x_0|^2 / 2                                         by the ratios  (eq. 108)

The other form of the same bound has terms of three neighbours, E[log q(x_t|x_(t-1)) - log p(x_t|x_(t+1))] (eq. 44), which one noised point
does not give.

Differences from the tutorial: the T + 1 times are even in log(alpha / sigma) after t_1 = 0.001 (``spacing``). With steps even in time the
first noise variances are 1, 2, 3 ... times the same, however many steps there are, so that where data look flat terms are
(r_t - 1) / 2 instead of log(r_t) / 2 a dimension, r_t = t / (t - 1), and a gap of half of Euler's constant a dimension stays. Eq. 45 writes
the terms of three neighbours as E[KL(q(x_t|x_(t-1)) || p(x_t|x_(t+1)))] over x_(t-1) and x_(t+1); as x_(t+1) depends on x_t this is another
number, and no bound of the same value, so that draws of all three are used. p(x_0|x_1) has the variance (1 - abar_1) / abar_1 of a point
that is seen through that noise alone. In the score's form the target is the gradient of log q(x_t|x_0), of which that of log p(x_t) is the
mean: with that of log p(x_t) itself, as printed, the term would be 0 for an exact score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.diffusion import ExactBound, Score
from elboard.bench.method import Bases, Method
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.diffusion_paths import View, path_of
from elboard.methods.parts.diffusion_solvers import times_of

CARD = MethodCard(
    name="exact-diffusion-bound",
    title="Bound of a diffusion with an exact score",
    family="diffusion",
    home="diffusion/bound",
    paper="034",
    cite="Luo 2022",
    aliases=("vdm-x0", "vdm-eps", "vdm-score"),
    defaults="paper",
)


def gaussian_kl(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor) -> Tensor:
    """KL(N(m1, v1 I) || N(m2, v2 I)) (B,) in nats, of means (B, D) and variances that broadcast against (B, 1)."""
    ratio = v1 / v2
    of_spread = (ratio - 1 - ratio.log()) * m1.shape[1]
    return 0.5 * (of_spread + (m1 - m2).square().sum(1, keepdim=True) / v2).expand(len(m1), 1).squeeze(1)


class ExactDiffusionBound(Method, ExactBound):
    """Steps are numbered from 0, x_0 itself, to T, as in the paper; tensors of a step are ``(B, D)``, its numbers ``(B, 1)`` or scalars."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        path: Literal["vp-linear", "vp-cosine"] = "vp-linear"
        spacing: Literal["log-snr", "time"] = "log-snr"  # of the times

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.path = path_of(config.path)

    def fit(self, data: Data, training: Any) -> None:
        pass

    # --- the process ---------------------------------------------------------------------------

    def abar(self, step: Tensor, steps: int) -> Tensor:
        """abar_t, 1 of step 0. A ``ValueError`` where ``steps`` are fewer than 2."""
        if steps < 2:
            raise ValueError(f"a bound of {steps} steps: its first time and its last are two, so that it takes at least 2")
        if self.config.spacing == "time":
            return self.path.alpha(step * (self.path.latest / steps)).square()
        times = times_of(self.path, steps - 1, "log-snr", dtype=step.dtype).flip(0).to(step.device)  # of the steps from 1 on
        return torch.cat([times.new_ones(1), self.path.alpha(times).square()])[step.long()]

    def noised(self, x: Tensor, step: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """A draw of x_t and its noise."""
        noise, abar = torch.randn_like(x), self.abar(step, steps)
        return abar.sqrt() * x + (1 - abar).sqrt() * noise, noise

    def seen(self, score: Score, x_t: Tensor, step: Tensor, steps: int) -> View:
        """Data and noise of ``x_t`` by the exact score (Tweedie, eq. 131 and 150)."""
        abar = self.abar(step, steps)
        noise = -(1 - abar).sqrt() * score(x_t, abar.sqrt(), (1 - abar).sqrt())
        return View((x_t - (1 - abar).sqrt() * noise) / abar.sqrt(), noise)

    def spread(self, step: Tensor, steps: int) -> Tensor:
        """s_t^2."""
        abar, before = self.abar(step, steps), self.abar(step - 1, steps)
        return (1 - abar / before) * (1 - before) / (1 - abar)

    def mean(self, x_t: Tensor, x_0: Tensor, step: Tensor, steps: int) -> Tensor:
        """That of q(x_(t-1) | x_t, x_0) (eq. 84)."""
        abar, before = self.abar(step, steps), self.abar(step - 1, steps)
        a = abar / before
        return (a.sqrt() * (1 - before) * x_t + before.sqrt() * (1 - a) * x_0) / (1 - abar)

    # --- the bound -----------------------------------------------------------------------------

    def reconstruction(self, score: Score, x: Tensor, steps: int) -> Tensor:
        """log p(x_0 | x_1) (B,) at a draw of x_1."""
        one = x.new_ones(())
        abar = self.abar(one, steps)
        data = self.seen(score, self.noised(x, one, steps)[0], one, steps).data
        variance = (1 - abar) / abar
        return -0.5 * ((x - data).square().sum(1) / variance + x.shape[1] * (2 * math.pi * variance).log())

    def prior(self, x: Tensor, step: int, steps: int, given: Tensor | None = None) -> Tensor:
        """KL(q(x_T | x_0) || N(0, I)) (B,); of ``given``, a draw of x_t at ``step``, KL(q(x_T | x_t) || N(0, I))."""
        abar = self.abar(x.new_tensor(steps), steps) / self.abar(x.new_tensor(step), steps)
        mean = abar.sqrt() * (x if given is None else given)
        return gaussian_kl(mean, 1 - abar, torch.zeros_like(mean), torch.ones_like(abar))

    def term(self, score: Score, x: Tensor, step: Tensor, steps: int) -> Tensor:
        """KL_t (B,) by the ratios, at a draw of x_t."""
        data = self.seen(score, self.noised(x, step, steps)[0], step, steps).data
        snr = [abar / (1 - abar) for abar in (self.abar(step - 1, steps), self.abar(step, steps))]
        return (0.5 * (snr[0] - snr[1]) * (data - x).square()).sum(1)

    def bound(self, score: Score, x: Tensor, steps: int) -> Tensor:
        found = self.reconstruction(score, x, steps) - self.prior(x, 0, steps)
        for t in range(2, steps + 1):
            found = found - self.term(score, x, x.new_tensor(t), steps)
        return found

    def forms(self, score: Score, x: Tensor, steps: int) -> Tensor:
        return torch.stack([self._forms(score, x, x.new_tensor(t), steps) for t in range(2, steps + 1)], 2)

    def _forms(self, score: Score, x: Tensor, step: Tensor, steps: int) -> Tensor:
        x_t, noise = self.noised(x, step, steps)
        seen = self.seen(score, x_t, step, steps)
        abar, before, variance = self.abar(step, steps), self.abar(step - 1, steps), self.spread(step, steps)
        a = abar / before
        of_score = -seen.noise / (1 - abar).sqrt(), -noise / (1 - abar).sqrt()
        by_noise = x_t / a.sqrt() - (1 - a) / ((1 - abar) * a).sqrt() * seen.noise  # the mean of p(x_(t-1) | x_t) (eq. 125)
        squares = [
            before * (1 - a) ** 2 / (1 - abar) ** 2 / variance * (seen.data - x).square(),
            (1 - a) ** 2 / ((1 - abar) * a) / variance * (seen.noise - noise).square(),
            (1 - a) ** 2 / a / variance * (of_score[0] - of_score[1]).square(),
            (self.mean(x_t, x, step, steps) - by_noise).square() / variance,
            (before / (1 - before) - abar / (1 - abar)) * (seen.data - x).square(),
        ]
        return 0.5 * torch.stack([square.sum(1) for square in squares], 1)

    def single(self, score: Score, x: Tensor, steps: int) -> dict[str, Tensor]:
        step = torch.randint(2, steps + 1, (len(x), 1), device=x.device).to(x.dtype)
        matching = self.reconstruction(score, x, steps) - self.prior(x, 0, steps) - (steps - 1) * self.term(score, x, step, steps)
        last, _ = self.noised(x, x.new_tensor(steps - 1), steps)
        chain = self.reconstruction(score, x, steps) - self.prior(x, steps - 1, steps, last)
        return {"matching": matching, "consistency": chain - (steps - 1) * self.consistency(score, x, step - 1, steps)}

    def consistency(self, score: Score, x: Tensor, step: Tensor, steps: int) -> Tensor:
        """log q(x_t | x_(t-1)) - log p(x_t | x_(t+1)) (B,) at a draw of all three, t of 1 to T - 1."""
        before, abar, after = (self.abar(step + by, steps) for by in (-1, 0, 1))
        x_before, _ = self.noised(x, step - 1, steps)
        noise, a = torch.randn_like(x), abar / before
        x_t = a.sqrt() * x_before + (1 - a).sqrt() * noise
        x_after = (after / abar).sqrt() * x_t + (1 - after / abar).sqrt() * torch.randn_like(x)
        mean = self.mean(x_after, self.seen(score, x_after, step + 1, steps).data, step + 1, steps)
        spread = self.spread(step + 1, steps)
        return 0.5 * ((x_t - mean).square() / spread - noise.square() + spread.log() - (1 - a).log()).sum(1)
