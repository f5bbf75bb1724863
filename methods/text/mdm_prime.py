"""Masked diffusion with partial masking, MDM-Prime (Chao, Sun, Liang, Lee and Krishnan 2025).

A token x is written as l digits y^1 .. y^l to the base b = ceil(K^(1/l)), and each digit is masked by itself with probability
1 - alpha_t. The network sees the digits side by side and gives one law of the whole token; tokens that the seen digits rule out get
-inf before the softmax. Per token that is not fully seen, with w(t) = -alpha'_t / (1 - alpha_t) > 0:

    published  L = E w(t) sum_i -log p(x^i | z_t)                                          (``joint``)
    bound      L = E w(t) sum_i sum_(j: z_t^(i,j) masked) -log p(y^(i,j) | z_t),   p(y^(i,j) | z) = sum_(v: v^j = y^(i,j)) p(v | z)

With l = 1 both are MD4. With l > 1 the published one is no bound on -log p(x): two equal bits, alpha = 1 - t, cost int (1/t) t^2 dt ln 2,
half of their entropy. It is what is trained on (``objective``), and never reported as a likelihood: ``nats`` are of the bound. ``plain`` is
the unweighted cross-entropy of the paper's images, at times 1 - (1 - t)^3 for t.

Sampling in T steps: all tokens are drawn from their laws, and each masked digit is revealed as it was drawn with probability
(alpha_s - alpha_t) / (1 - alpha_t). A step is idle where it reveals nothing of a sequence: of N tokens and N even steps (1 - 1/N)^(N l)
are, about e^-l, which is the paper's 36.8, 13.5, 1.8 and 0.25 %.

Differences from the paper: the networks and lengths of :mod:`elboard.methods.text.md4`, and on images a U-Net of 0.1 million weights that
is not told the time; the offset of MD4's schedule and what it costs; without temperature, corrector steps and warped times, and without the
grouping of tokens that goes the other way. Whether the paper's networks share the rate of those with l = 1 was not verified: here they do.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.text import Predictor, PublishedLoss, SteppedTokens, TokenSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.parts.enumerated_masks import all_sets, log_mass_of_orders, moments, panels
from elboard.methods.parts.masked_diffusion import noised, stratified, times_of
from elboard.methods.parts.sub_tokens import SubTokenEmbedding, SubTokens
from elboard.methods.parts.token_networks import TokenUNet
from elboard.methods.text.md4 import MD4

CARD = MethodCard(
    name="mdm-prime",
    title="Masked diffusion with partial masking",
    family="text",
    home="text/shakespeare",
    paper="082",
    cite="Chao et al. 2025",
    recipes={"images": {"set": {"objective": "plain", "grid": "cubic"}, "on": "tokens/mnist14"}},
    defaults="convention",
)
CHANNELS = 24  # of a pixel's embedding, which 1, 2, 3 and 4 digits share alike
ENUMERATED = 10  # digits of a sequence at most: log p takes as many numbers as there are pairs of their sets, of each sequence


class MDMPrime(MD4, SteppedTokens, PublishedLoss):
    """See the module. ``z`` are digits (B, L, l), and tokens (B, L) where l = 1."""

    @dataclass(kw_only=True)
    class Config(MD4.Config):
        sub_tokens: Count = 2  # l
        objective: Literal["joint", "marginal", "plain"] = "joint"
        grid: Literal["cosine", "uniform", "cubic"] = "uniform"  # of the paper's text; cubic of its images

    def __init__(self, config: Any, spec: TokenSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.code = SubTokens(self.letters, config.sub_tokens)
        if spec.image:
            embedding = SubTokenEmbedding(self.code, CHANNELS)
            self.network = TokenUNet(self.letters, spec.image, embedding, CHANNELS, config.width)
        elif self.code.count > 1:
            self.network.embedding = SubTokenEmbedding(self.code, config.width)
        self.average = copy.deepcopy(self.network).requires_grad_(False)

    def log_p(self, z: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities (B, L, K) of tokens, -inf where ``z`` (B, L, l) rules them out; ``z`` (B, L) are tokens and K where masked."""
        if z.ndim == 2:
            z = torch.where(z[..., None] == self.letters, self.code.base, self.code.encode(z % self.letters))
        digits = isinstance(self.network.embedding, SubTokenEmbedding)
        return super().log_p(z if digits else z[..., 0], t).masked_fill(~self.code.possible(z), -torch.inf).log_softmax(2)

    def noised(self, y: Tensor, share: Tensor) -> Tensor:
        """``y`` (B, L, l) in which digits are masked with probability ``share`` (B,)."""
        return noised(y.flatten(1), share[:, None], self.code.base).view_as(y)

    def both(self, x: Tensor, share: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of what is not seen of ``x`` (B, L), nats (B,): of tokens jointly, and of digits one by one."""
        y = self.code.encode(x)
        z = self.noised(y, share)
        log_p = self.log_p(z, t)
        return -log_p.gather(2, x[..., None]).sum((1, 2)), self.code.surprises(log_p, y, z).sum((1, 2))

    def terms(self, x: Tensor, t: Tensor) -> Tensor:
        t, weight = self.weighted(t)
        return weight * self.both(x, self.process.masked(t), t)[1]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].repeat(self.config.draws, 1)
        t, weight = self.weighted(stratified(1, len(x), x)[0])
        if self.config.objective == "plain":
            t, weight = 1 - (1 - t) ** 3, torch.ones_like(t)
        joint, marginal = (weight * of for of in self.both(x, self.process.masked(t), t))
        asked = marginal if self.config.objective == "marginal" else joint
        return {"loss": asked.mean() / self.length, "marginal_bits": marginal.detach().mean() / (self.length * math.log(2))}

    def ends(self) -> float:
        return self.process.ends(self.length * self.code.count, self.code.base)

    @torch.no_grad()
    def sample_in(self, n: int, steps: int) -> tuple[Tensor, Tensor]:
        device = self.averaged.device
        times = torch.tensor(times_of(steps, self.config.grid), device=device)
        z = torch.full((n, self.length, self.code.count), self.code.base, device=device)
        idle = torch.zeros(n, device=device)
        for t, s in zip(times[:-1], times[1:], strict=True):
            above, below = self.process.masked(t), self.process.masked(s) * (s > 0)
            shown = (z == self.code.base) & (torch.rand(z.shape, device=device) < 1 - below / above)
            at = shown.any(2)
            if at.any():
                p = self.log_p(z, t.expand(n))[at].double().exp()
                z[at] = torch.where(shown[at], self.code.encode(torch.multinomial(p, 1)[:, 0]), z[at])
            idle += ~at.any(1)
        return self.code.decode(z), idle / steps

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        return self.sample_in(n, self.config.sample_steps)[0]

    # --- by enumeration, of short sequences -------------------------------------------------------

    def _seen(self, predict: Predictor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Digits and masked digits (B, 2^(L l), L, l) of all sets of masks, and what ``predict`` says of them (B, 2^(L l), L, K)."""
        y = self.code.encode(x)[:, None]
        if y[0].numel() > ENUMERATED:
            raise UserError(f"sub_tokens={self.code.count}: {y[0].numel()} digits of a sequence are too many to look at all sets of them")
        sets = all_sets(y[0].numel(), x).unflatten(1, y.shape[2:])
        z = torch.where(sets, self.code.base, y)
        log_p = predict(self.code.possible(z).flatten(0, 1)).double()
        return y.expand_as(z), z, log_p.unflatten(0, z.shape[:2])

    def surprises(self, predict: Predictor, x: Tensor) -> Tensor:
        y, z, log_p = self._seen(predict, x)
        return self.code.surprises(log_p, y, z).flatten(2)

    def published_loss(self, predict: Predictor, x: Tensor) -> Tensor:
        _, z, log_p = self._seen(predict, x)
        joint = -log_p.gather(3, x[:, None, :, None].expand(*z.shape[:3], 1))
        t, p = panels(joint)
        at_first = torch.cat([joint, torch.zeros_like(joint).expand(*z.shape[:3], self.code.count - 1)], 3)  # one of a token counts
        return moments(at_first.flatten(2), self.process.masked(t), self.process.weight(t), p)[0]

    def log_mass(self, predict: Predictor, x: Tensor) -> Tensor:
        return log_mass_of_orders(self.surprises(predict, x), self.code.base, self.process.offset)
