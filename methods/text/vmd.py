"""Variational masked diffusion, VMD (Zhang, Schwing and Zhao 2025).

Tokens that a step of masked diffusion fills are drawn independently of each other. Here a code z of the whole sequence ties them:

    p(x^M | x_t) = int prod_(i in M) p(x^i | x_t, z) N(z; 0, I) dz,        q(z | x, x_t) = N(mu, diag sigma^2)
    L = E_t w(t) { E_q sum_(i in M) -log p(x^i | x_t, z) + beta KL(q(z | x, x_t) || N(0, I)) }        (trained on)

with the weight w of MD4, 1 / t on the linear schedule. To sample, z is drawn once, and all steps share it. With ``blocks`` B > 1 even parts
of the sequence are filled one after the other, each given those before it and with a code of its own (block VMD, after BD3-LM); in training
one of them is drawn for an example, its terms count B times, and those behind it are masked. With ``latent`` = 0 there is no code: masked
diffusion (MD4) and its version by blocks.

L is no bound on -log p(x): what is learned of M tokens together is weighted as if it were of one after the other. Of two tokens that
determine each other, with the best code, it is int (1 / t) t^2 H dt = H / 2. ``nats`` are of a bound of the process that samples, with one
code for all times, of the encoder that sees all of x and nothing but masks beside it, whose divergence counts once:

    -log p(x) <= E_q { int w(t) E_(x_t) sum_(i in M) -log p(x^i | x_t, z) dt } + KL(q(z | x, masks) || N(0, I))

Differences from the paper: where the KL is weighted, beta, its warm-up, the size of z and how the network is told of it were not verified:
inside the bracket, 1, over a fifth of the steps, 8 numbers, adaptive layer normalisation. w is not clipped, as of MD4, and the KL counts
where something is masked: elsewhere it has nothing to explain, and 1 / t is largest. The encoder is a transformer of two layers on the sums
of both embeddings, whose outputs are averaged.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.text import Order, TokenFiller, TokenSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Range, Share
from elboard.bench.task import Batch
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.masked_diffusion import ancestral, filled, noised, stratified, surprise, times_of
from elboard.methods.parts.schedules import ramp
from elboard.methods.parts.token_networks import PairEncoder, TokenTransformer
from elboard.methods.text.base import ROWS, MaskedTokens

CARD = MethodCard(
    name="vmd",
    title="Variational masked diffusion",
    family="text",
    home="tokens/dependent",
    paper="023",
    cite="Zhang et al. 2025",
    aliases=("block-vmd",),
    defaults="convention",
)


class VMD(MaskedTokens, TokenFiller):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(MaskedTokens.Config):
        latent: Annotated[int, Range(0)] = 8  # numbers of z
        beta: NonNegative = 1.0
        beta_warmup: Share = 0.2
        blocks: Count = 1  # B
        redraw: bool = False  # whether z is drawn anew in each step
        sample_steps: Count = 64
        grid: Literal["cosine", "uniform"] = "cosine"

    def __init__(self, config: Any, spec: TokenSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, self.encoder = config, None
        if self.length % c.blocks or c.sample_steps % c.blocks:
            raise UserError(f"blocks={c.blocks} does not divide both {self.length} tokens and sample_steps={c.sample_steps}")
        if c.timed and c.blocks > 1:
            raise UserError("blocks above 1 need timed=false: the time is not the same in training and where a block is filled")
        if c.latent:
            words = {"dropout": c.dropout, "timed": c.timed, "known": c.latent}
            self.network = TokenTransformer(self.letters, self.length, c.width, c.depth, c.heads, **words)
            self.encoder = PairEncoder(self.letters, self.length, c.width, c.heads, c.latent)
        self.average = copy.deepcopy(self.network).requires_grad_(False)

    def weighted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, self.process.weight(t)

    def block_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of a block that is drawn for each of ``x`` (B, L): what is known of the sequence once it is filled (B, L), and where it is."""
        blocks = self.config.blocks
        if blocks == 1:
            return x, torch.ones_like(x, dtype=torch.bool)
        of_position = torch.arange(self.length, device=x.device) // -(-self.length // blocks)
        block = torch.randint(blocks, (len(x), 1), device=x.device)
        return torch.where(of_position > block, self.letters, x), of_position == block

    def coded(self, x: Tensor, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """A draw of the code (B, latent) given ``x`` and its version ``z``, and its divergence (B,); without codes None and 0."""
        if self.encoder is None:
            return None, torch.zeros(len(x), device=x.device)
        mean, logvar = self.encoder(x, z)
        return mean + (0.5 * logvar).exp() * torch.randn_like(mean), kl_to_standard_normal(mean, logvar)

    def seen(self, x: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` without what follows the block, its version with masks of ``share`` (B,) there, and that with all of the block masked."""
        known, inside = self.block_of(x)
        z = torch.where(inside, noised(x, share[:, None], self.letters), known)
        return known, z, torch.where(inside, self.letters, known)

    def counted(self, log_p: Tensor, known: Tensor, z: Tensor) -> Tensor:
        """-log p (B,) of the masked tokens of ``z`` that are ``known``."""
        there = known != self.letters
        return torch.where(there, surprise(log_p, known * there, z), 0.0).sum(1)

    def terms(self, x: Tensor, t: Tensor) -> Tensor:
        t, weight = self.weighted(t)
        known, z, before = self.seen(x, self.process.masked(t))
        code, kl = self.coded(known, before)
        return self.config.blocks * (weight * self.counted(self.log_p(z, t, code), known, z) + kl)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"].repeat(self.config.draws, 1)
        t, weight = self.weighted(stratified(1, len(x), x)[0])
        known, z, _ = self.seen(x, self.process.masked(t))
        code, kl = self.coded(known, z)
        kl = kl * ((z == self.letters) & (known != self.letters)).any(1)
        surprises = self.counted(self.log_p(z, t, code), known, z)
        beta = c.beta * ramp(self.progress, c.beta_warmup)
        total = c.blocks * (weight * (surprises + beta * kl)).mean() / self.length
        return {"loss": total, "kl": kl.detach().mean(), "bits": (weight * surprises).detach().mean() / (self.length * math.log(2))}

    def codes(self, n: int) -> Tensor | None:
        """``n`` draws of the prior."""
        return torch.randn(n, self.config.latent, device=self.averaged.device) if self.config.latent else None

    def predictor(self, n: int) -> Any:
        """Log-probabilities of ``z`` (n, L) at times (n,), given codes that are drawn once, or in each step."""
        if self.config.redraw:
            return lambda z, t: self.log_p(z, t, self.codes(n))
        return partial(self.log_p, known=self.codes(n))

    @torch.no_grad()
    def fill(self, z: Tensor, steps: int, order: Order, blocks: int = 1) -> Tensor:
        parts = [filled([self.predictor(len(part)) for _ in range(blocks)], part, self.letters, steps, order) for part in z.split(ROWS)]
        return torch.cat(parts)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        c, device = self.config, self.averaged.device
        if c.blocks > 1:
            return self.fill(torch.full((n, self.length), self.letters, device=device), c.sample_steps, "random", c.blocks)
        times = torch.tensor(times_of(c.sample_steps, c.grid), device=device)
        return ancestral(self.predictor(n), (n, self.length), self.letters, self.process.masked, times)
