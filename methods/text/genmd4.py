"""Masked diffusion with a learned schedule for each token, GenMD4 (Shi, Han, Wang, Doucet and Titsias 2024).

    alpha_(t,v) = 1 - (1 - e) t^(w_v),   w_v = softplus(.) > 0, 1 at the start
    L(z_t, t) = sum_(l: z_t^l masked) sum_v -(w_v / t) { (log mu_x + 1) [v = x] - mu_v },   mu of position l, x = x^l
    ends: sum_l (1 - e) t_1^(w_x) { logsumexp_v(w_v log t_1) - w_x log t_1 } + e log K,   t in [t_1, 1]

A token with a large w is masked late in the noising, and so revealed early. With all w equal the terms +1 and -mu cancel and L is that of
MD4. What is masked depends on w, so that the gradient has the score of q; of two draws z, z' at the same time (leave one out)

    grad (L + L') / 2 + sg(L - L') (grad log q(z|x) - grad log q(z'|x)) / 2

Reverse step: v is revealed with probability mu_v (alpha_(s,v) - alpha_(t,v)) / (1 - alpha_(t,v)).

Differences from the paper: those of :mod:`elboard.methods.text.md4`; two passes an example and step, so that its control is MD4 with
``draws=2``; the term e log K at t = 1. The best mu depends on the time where w differ, of which the network sees the number of masks only
unless ``timed``. Whether the paper's network is told the time, and at which rate its w are learned, was not verified: here it is not, and w
have the rate of the network. The range of w is in the curves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.text import TokenSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.parts.masked_diffusion import ancestral, noised, stratified, times_of
from elboard.methods.text.base import ROWS, TokenMethod

CARD = MethodCard(
    name="genmd4",
    title="Masked diffusion with a learned schedule for each token",
    family="text",
    home="text/shakespeare",
    paper="079",
    cite="Shi et al. 2024",
    defaults="convention",
)
E, T1 = 1e-4, 1e-3  # the share that is seen at t = 1, and the first time


class GenMD4(TokenMethod):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(TokenMethod.Config):
        sample_steps: Count = 64

    def __init__(self, config: Any, spec: TokenSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.raw = nn.Parameter(torch.full((spec.letters,), math.log(math.e - 1)))

    @property
    def w(self) -> Tensor:
        """(K,)."""
        return F.softplus(self.raw)

    def masked(self, t: Tensor, w: Tensor) -> Tensor:
        """1 - alpha_t of tokens whose exponents are ``w``; both broadcast."""
        return (1 - E) * t**w

    def integrand(self, log_p: Tensor, x: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """L (B,) of ``z`` (B, L) at times (B,)."""
        w, log_mu = self.w, log_p.gather(2, x[..., None])[..., 0]
        each = (log_p.exp() * w).sum(2) - w[x] * (log_mu + 1)  # no product of matrices, which mixed precision would round
        return torch.where(z == self.letters, each, 0.0).sum(1) / t

    def drawn(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """L and log q(z_t | x), (B,) each, of one draw of z."""
        share = self.masked(t[:, None], self.w[x])
        z = noised(x, share.detach(), self.letters)
        log_q = torch.where(z == self.letters, share.log(), torch.log1p(-share)).sum(1)
        return self.integrand(self.log_p(z, t), x, z, t), log_q

    def ends(self, x: Tensor) -> Tensor:
        """Nats (B,) that ``x`` (B, L) costs before t_1 and at 1."""
        logs = self.w * math.log(T1)
        missing = self.masked(torch.tensor(T1, device=x.device), self.w[x])
        return (missing * (logs.logsumexp(0) - logs[x])).sum(1) + E * self.length * math.log(self.letters)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        t = T1 + (1 - T1) * stratified(1, len(x), x)[0]
        (one, other), (log_one, log_other) = (of.chunk(2) for of in self.drawn(x.repeat(2, 1), t.repeat(2)))
        mean = (1 - T1) * 0.5 * (one + other) + self.ends(x)
        score = (1 - T1) * 0.5 * (one - other).detach() * (log_one - log_other)
        w = self.w.detach()
        bits = mean.detach().mean() / (self.length * math.log(2))
        return {"loss": (mean + score).mean() / self.length, "bits": bits, "least_w": w.min(), "largest_w": w.max()}

    @torch.no_grad()
    def nats(self, x: Tensor, draws: int) -> Tensor:
        t = T1 + (1 - T1) * stratified(len(x), draws, x)
        found = [self.drawn(a, b)[0] for a, b in zip(x.repeat_interleave(draws, 0).split(ROWS), t.flatten().split(ROWS), strict=True)]
        return (1 - T1) * torch.cat(found).view(len(x), draws) + self.ends(x)[:, None]

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        times = torch.tensor(times_of(self.config.sample_steps, "cosine"), device=self.raw.device)
        return ancestral(self.log_p, (n, self.length), self.letters, lambda t: self.masked(t, self.w), times)
