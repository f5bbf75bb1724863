"""Autoregressive variational state space model: a VSSM that goes on with what has begun (Lambrechts, Claes, Geurts and Ernst 2024).

    z_1..z_k ~ q(z_1..z_k | x_1..x_k),   s_k by one scan;   z_(k+1)..z_T ~ p,   s_(k+1)..s_T by another one, from s_k

The model of :mod:`elboard.methods.sequences.vssm`. Its prior is of each step by itself and its decoder causal, so that the model of the
whole gives log p(x_1..x_k) too, and codes that are drawn knowing x_1..x_k alone bound it. The encoder is causal: one from both ends would
have learned to see what a beginning lacks. What is seen reaches what is drawn through the state s_k and nowhere else; that state is kept,
so that nothing is computed twice, and all that is drawn is drawn at once.

Differences from the paper, of which the abstract and a summary were at hand: that the prior does not depend on what is seen is the simplest
reading; one that is learned, given the beginning, would need draws of k in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.sequences import SequenceCompleter
from elboard.methods.sequences.vssm import VSSM

CARD = MethodCard(
    name="ar-vssm",
    title="Autoregressive variational state space model",
    family="sequences",
    home="sequences/mnist-rows",
    paper="060",
    cite="Lambrechts, Claes, Geurts and Ernst 2024",
    splits=True,
    defaults="convention",
)


class AutoregressiveVSSM(VSSM, SequenceCompleter):
    """See the module."""

    both = False

    @dataclass(kw_only=True)
    class Config(VSSM.Config):
        pass

    @torch.no_grad()
    def complete(self, x: Tensor) -> Tensor:
        _, states = self.decode(self.drawn_codes(self.posterior(x)))
        out, _ = self.decode(self.prior_codes(len(x), self.length - x.shape[1]), states)
        return torch.cat([x, self.likelihood.draw(out)], 1)
