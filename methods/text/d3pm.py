"""Discrete diffusion with an absorbing state in T steps (Austin, Johnson, Ho, Tarlow and van den Berg 2021).

    -log p(x) <= sum_(i=1..T) (alpha_((i-1)/T) - alpha_(i/T)) / (1 - alpha_(i/T)) E_(z_(i/T)) sum_(l masked) -log mu^l(z)[x^l] + ends

what KL(q(z_s | z_t, x) || p(z_s | z_t)) is of a network that gives mu and never the mask. All positions that a step reveals are drawn
independently of each other, which costs: with T = 1 it is the product of the letters' own laws, and as T grows it falls to the bound of
MD4. ``steps`` is T in training, bound and samples. The uniform transitions of the paper are not here.

Differences from the paper: without its auxiliary cross-entropy; 16 steps instead of 1,000, which is what the comparison with continuous
time is about; the network of :mod:`elboard.methods.text.md4`, of its sizes and its training, without time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.text import Predictor
from elboard.bench.options import Count
from elboard.methods.parts.enumerated_masks import log_mass_of_steps, moments
from elboard.methods.parts.masked_diffusion import Schedule, times_of
from elboard.methods.text.base import MaskedDiffusion

CARD = MethodCard(
    name="d3pm",
    title="Absorbing discrete diffusion in T steps",
    family="text",
    home="text/shakespeare",
    cite="Austin et al. 2021",
    aliases=("d3pm-absorbing",),
    defaults="convention",
)


class D3PM(MaskedDiffusion):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(MaskedDiffusion.Config):
        steps: Count = 16  # T; 1,000 in the paper

    def weighted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.process.step(t, self.config.steps)

    def grid(self) -> list[float]:
        return times_of(self.config.steps, "uniform")

    def enumerated(self, found: Tensor, process: Schedule) -> tuple[Tensor, Tensor]:
        steps = self.config.steps
        at, weight = process.step(self._middles(found), steps)
        return moments(found, process.masked(at), weight, torch.full_like(at, 1 / steps))

    def log_mass(self, predict: Predictor, x: Tensor) -> Tensor:
        reveal = (self.weighted(self._middles(x))[1] / self.config.steps).flip(0).tolist()  # from t = 1 on
        return log_mass_of_steps(self.surprises(predict, x), self.letters, self.process.offset, reveal)

    def _middles(self, like: Tensor) -> Tensor:
        """The middle of each step, from t = 0 on."""
        steps = self.config.steps
        return (torch.arange(steps, dtype=torch.float64, device=like.device) + 0.5) / steps
