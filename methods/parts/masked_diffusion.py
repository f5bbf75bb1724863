"""Masked (absorbing) diffusion of sequences of tokens: schedules, what is masked, weights of the bounds, the reverse process.

    q(z_t | x): each token is the mask with probability m(t) = 1 - alpha(t), by itself;   m(0) ~ 0, m(1) ~ 1

Of a predictor mu(z) of the tokens at masked positions the negative bound on log p(x), in nats, is the mean over t ~ U(0, 1) of

    w(t) sum_(l: z_t^l masked) -log mu^l(z_t)[x^l],   w(t) = -alpha'(t) / (1 - alpha(t)) = m'(t) / m(t)                (continuous time)
                                                      w(i/T) = T (m(i/T) - m((i-1)/T)) / m(i/T),   t -> i/T above it    (T steps)

(Shi et al. 2024; Austin et al. 2021). It is what masking costs beyond ``ends``. Everything here is in the share of masks
m(t), so that nothing cancels near 0. Token ids are 0 to K - 1, and K is the mask; ``log_p`` are log-probabilities (B, L, K).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.text import Order

Kind = Literal["linear", "cosine", "polynomial"]
Grid = Literal["cosine", "uniform", "cubic"]
Timed = Callable[[Tensor, Tensor], Tensor]  # tokens (B, L) and times (B,) to log-probabilities (B, L, K)


@dataclass(frozen=True)
class Schedule:
    """m(t) = (1 - 2 ``offset``) m~(t) + ``offset``, with m~ = t (linear), sin(pi t / 2) (cosine: alpha~ = 1 - cos(pi (1 - t) / 2)) or t to
    the ``power`` (polynomial) (Shi et al. 2024)."""

    kind: Kind = "linear"
    power: float = 2.0
    offset: float = 1e-4

    def masked(self, t: Tensor) -> Tensor:
        """m(t) = 1 - alpha(t)."""
        plain = {"linear": lambda: t, "cosine": lambda: (0.5 * math.pi * t).sin(), "polynomial": lambda: t**self.power}[self.kind]()
        return (1 - 2 * self.offset) * plain + self.offset

    def slope(self, t: Tensor) -> Tensor:
        """m'(t) = -alpha'(t)."""
        plain = {
            "linear": lambda: torch.ones_like(t),
            "cosine": lambda: 0.5 * math.pi * (0.5 * math.pi * t).cos(),
            "polynomial": lambda: self.power * t ** (self.power - 1),
        }[self.kind]()
        return (1 - 2 * self.offset) * plain

    def weight(self, t: Tensor) -> Tensor:
        """w(t) in continuous time."""
        return self.slope(t) / self.masked(t)

    def step(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The end i/T of the one of ``steps`` that ``t`` in [0, 1) lies in, and w(i/T)."""
        end = (t * steps).floor() + 1
        above, below = self.masked(end / steps), self.masked((end - 1) / steps)
        return end / steps, steps * (above - below) / above

    def ends(self, length: int, letters: int) -> float:
        """Nats that the offset costs at both ends: letters of z_0 that are masked are filled, and those of z_1 that are not are guessed, by
        the uniform law."""
        return 2 * self.offset * length * math.log(letters)


def stratified(n: int, draws: int, like: Tensor) -> Tensor:
    """Times (n, draws) in [0, 1), each uniform: those of a row are u + j / draws modulo 1, of rows without relation."""
    u = torch.rand(n, 1, device=like.device)
    return (u + torch.arange(draws, device=like.device) / draws) % 1


def noised(x: Tensor, share: Tensor, mask: int) -> Tensor:
    """``x`` (B, L) in which tokens are ``mask`` with probability ``share``, (B, 1) or of each position (B, L)."""
    return torch.where(torch.rand(x.shape, device=x.device) < share, mask, x)


def surprise(log_p: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """-log mu[x] (B, L) at the masked positions of ``z``, 0 where a token is seen."""
    of_x = -log_p.gather(2, x[..., None])[..., 0]
    return torch.where(z == log_p.shape[2], of_x, 0.0)


def times_of(steps: int, grid: Grid) -> list[float]:
    """``steps`` + 1 times from 1 to 0: even, or cos(pi i / 2 T) or 1 - (i / T)^3, of which more lie where nearly all is masked."""
    even = [i / steps for i in range(steps + 1)]
    if grid == "cosine":
        return [max(0.0, math.cos(0.5 * math.pi * i)) for i in even[:-1]] + [0.0]
    return [1 - (i if grid == "uniform" else i**3) for i in even]


def reverse_step(log_p: Tensor, z: Tensor, reveal: Tensor) -> Tensor:
    """z_s of ``z`` (B, L): a masked position becomes v with probability mu_v ``reveal``_v, (K,) or a scalar, and else stays; exact draws in
    double precision. What is seen never changes."""
    p = log_p.double().exp() * reveal
    outcomes = torch.cat([p, (1 - p.sum(2, keepdim=True)).clamp_min(0.0)], 2)  # the last one is the mask
    drawn = torch.multinomial(outcomes.flatten(0, 1), 1).view(z.shape)
    return torch.where(z == log_p.shape[2], drawn, z)


def ancestral(predict: Timed, shape: tuple[int, int], mask: int, masked: Callable[[Tensor], Tensor], times: Tensor) -> Tensor:
    """Sequences of ``shape`` (B, L) from masks alone along ``times`` (T + 1,), which fall to 0, where all that is left is filled.

    ``predict(z, t)`` gives log-probabilities, ``masked(t)`` the share of masks, a scalar or one of each letter (K,).
    """
    z = torch.full(shape, mask, device=times.device)
    for t, s in zip(times[:-1], times[1:], strict=True):
        above, below = masked(t).double(), masked(s).double()
        reveal = (above - below) / above if s > 0 else torch.ones_like(above)
        z = reverse_step(predict(z, t.expand(len(z))), z, reveal)
    return z


def scores_of(p: Tensor, order: Order) -> Tensor:
    """How soon each position (B, L) is filled, of its law ``p`` (B, L, K): the largest first."""
    if order == "random":
        return torch.rand(p.shape[:2], device=p.device)
    first, second = p.topk(2, dim=2).values.unbind(2)
    return first if order == "top" else first - second


def filled(predictors: Sequence[Timed], z: Tensor, mask: int, steps: int, order: Order) -> Tensor:
    """``z`` (B, L) without masks after ``steps`` evaluations: as many even parts as ``predictors`` are filled one after the other, each by
    one of them. An evaluation fills as many of a part's masks as those that follow, by independent draws (Kim et al. 2025: ``top``,
    ``margin``). As the time they are told the share of masks of the whole sequence, which it is on the linear schedule.

    Raises UserError where the steps or the tokens are not as many for each part.
    """
    if steps % len(predictors):
        raise UserError(f"{steps} steps cannot be shared evenly by {len(predictors)} blocks")
    if z.shape[1] % len(predictors):
        raise UserError(f"{z.shape[1]} tokens cannot be shared evenly by {len(predictors)} blocks")
    parts = torch.arange(z.shape[1], device=z.device).chunk(len(predictors))
    for part, predict in zip(parts, predictors, strict=True):
        inside = torch.isin(torch.arange(z.shape[1], device=z.device), part)
        for left in range(steps // len(predictors), 0, -1):
            masked = (z == mask) & inside
            n = -(-masked.sum(1, keepdim=True) // left)
            p = predict(z, (z == mask).float().mean(1)).double().exp()
            drawn = torch.multinomial(p.flatten(0, 1), 1).view(z.shape)
            place = scores_of(p, order).masked_fill(~masked, -1.0).argsort(1, descending=True).argsort(1)
            z = torch.where(masked & (place < n), drawn, z)
    return z
