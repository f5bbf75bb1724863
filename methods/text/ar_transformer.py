"""Autoregressive transformer: the exact likelihood that masked diffusions bound (Vaswani et al. 2017; Radford et al. 2018).

    log p(x) = sum_l log mu(x^l | x^1 .. x^(l-1))

The transformer of :mod:`elboard.methods.text.md4`, of the same sizes, with a causal mask: position l is shown tokens up to l - 1, behind a
start whose embedding is that of the mask. Trained as it is, one pass of each window in a step.

Differences from the papers: 0.16 million weights, windows of 64 characters, learned positions, layers normalised first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.text.base import ROWS, TokenMethod

CARD = MethodCard(
    name="ar-transformer",
    title="Autoregressive transformer",
    family="text",
    home="text/shakespeare",
    cite="Radford et al. 2018",
    splits=True,
    defaults="convention",
)


class ARTransformer(TokenMethod):
    """See the module."""

    causal, exact = True, True

    @dataclass(kw_only=True)
    class Config(TokenMethod.Config):
        pass

    def next_log_p(self, x: Tensor) -> Tensor:
        """Log-probabilities (B, L, K) of each token given those before it; the last of ``x`` (B, L) is not looked at."""
        start = torch.full_like(x[:, :1], self.letters)
        return self.log_p(torch.cat([start, x[:, :-1]], 1), torch.zeros(len(x), device=x.device))

    def surprise(self, x: Tensor) -> Tensor:
        """-log p (B,)."""
        return -self.next_log_p(x).gather(2, x[..., None]).sum((1, 2))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        nats = self.surprise(batch["x"]).mean() / self.length
        return {"loss": nats, "bits": nats.detach() / math.log(2)}

    @torch.no_grad()
    def nats(self, x: Tensor, draws: int) -> Tensor:
        return torch.cat([self.surprise(part) for part in x.split(ROWS)])[:, None]

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        x = torch.zeros(n, self.length, dtype=torch.long, device=self.averaged.device)
        for i in range(self.length):
            p = self.next_log_p(x[:, : i + 1])[:, -1].double().exp()
            x[:, i] = torch.multinomial(p, 1)[:, 0]
        return x
