"""Simplified masked diffusion, MD4 (Shi, Han, Wang, Doucet and Titsias 2024).

    -log p(x) <= int_0^1 [ alpha'_t / (1 - alpha_t) ] E_(z_t) sum_(l: z_t^l masked) log mu^l(z_t)[x^l] dt + ends

alpha' < 0 and log mu < 0, so that the weight of the cross-entropy is positive: 1 / t on the linear schedule. It is not clipped, which would
be another bound. Changing the variable to alpha shows that for a network without time the value is the same for every schedule, and the
variance of its estimate is not. The mask is never predicted, and what is seen never changes.

Sampling: from masks alone, on the times cos(pi i / 2 T) (``grid``), each masked position is filled with probability
(alpha_s - alpha_t) / (1 - alpha_t); at the last time all that are left.

Differences from the paper: a transformer of 0.16 million weights instead of one of 85 million, windows of 64 characters, without
dropout, two epochs at a rate of 4e-3 instead of 3e-4 to 5e-4 over a million steps; the weights' average has a decay of 0.999 instead of
0.9999; the network is not told the time, which the paper leaves open, and has learned numbers for distances; the bound has what the offset
costs at both ends, where the paper's leaves out that at t = 1. ``draws`` above 1 is a control for GenMD4, which looks twice at an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.text import Order, Predictor, TokenFiller
from elboard.bench.options import Count
from elboard.methods.parts.enumerated_masks import log_mass_of_orders, moments, panels
from elboard.methods.parts.masked_diffusion import Schedule, filled, times_of
from elboard.methods.text.base import ROWS, MaskedDiffusion

CARD = MethodCard(
    name="md4",
    title="Masked diffusion in continuous time",
    family="text",
    home="text/shakespeare",
    paper="079",
    cite="Shi et al. 2024",
    defaults="convention",
)


class MD4(MaskedDiffusion, TokenFiller):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(MaskedDiffusion.Config):
        sample_steps: Count = 64
        grid: Literal["cosine", "uniform"] = "cosine"  # the paper's advice for few steps

    def weighted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, self.process.weight(t)

    def grid(self) -> list[float]:
        return times_of(self.config.sample_steps, self.config.grid)

    @torch.no_grad()
    def fill(self, z: Tensor, steps: int, order: Order, blocks: int = 1) -> Tensor:
        return torch.cat([filled([self.log_p] * blocks, part, self.letters, steps, order) for part in z.split(ROWS)])

    def enumerated(self, found: Tensor, process: Schedule) -> tuple[Tensor, Tensor]:
        t, p = panels(found)
        return moments(found, process.masked(t), process.weight(t), p)

    def log_mass(self, predict: Predictor, x: Tensor) -> Tensor:
        return log_mass_of_orders(self.surprises(predict, x), self.letters, self.process.offset)
