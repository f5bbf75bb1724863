"""Variational state space model, VSSM (Lambrechts, Claes, Geurts and Ernst 2024).

    p(x, z) = prod_t p(z_t) p(x_t | s_t),   s_1..s_T = SSM(z_1..z_T),      z_t: G categoricals of K classes, all equally likely a priori
    log p(x) >= sum_t E_q[log p(x_t | s_t)] - KL_t,      KL_t = sum_g log K - H(q_tg),      q(z | x) = prod_tg Cat(SSM(x)_tg)

No step sees an earlier one of x but through z, so that all steps are drawn at once: all z, one scan, one head. The encoder sees the whole
sequence from both ends, the decoder what came before. z is drawn straight through (Jang, Gu and Poole 2017): one-hot ahead, the gradient
is that of the Gumbel-softmax, whose temperature falls over training. The divergence is of the probabilities and not of the draw.
Evaluation draws from q itself.

Differences from the paper, of which the abstract and a summary were at hand and no code: the uniform prior, the encoder from both ends, the
layers (diagonal, with gates), Adam on a cosine, temperatures from 1 to 0.5 and 4 x 16 classes a step are choices made here. The rate is
the family's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.kinds.sequences import LatentSequence
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Count, Positive
from elboard.bench.task import Batch
from elboard.methods.parts.discrete import OneHots
from elboard.methods.parts.state_spaces import State, StateSpaceNetwork
from elboard.methods.sequences.base import SequenceMethod

CARD = MethodCard(
    name="vssm",
    title="Variational state space model",
    family="sequences",
    home="sequences/mnist-rows",
    paper="060",
    cite="Lambrechts, Claes, Geurts and Ernst 2024",
    splits=True,
    defaults="convention",
)


class VSSM(SequenceMethod, LatentSequence):
    """See the module."""

    both = True  # whether the encoder sees the sequence from both ends

    @dataclass(kw_only=True)
    class Config(SequenceMethod.Config):
        groups: Count = 4  # categoricals of a step
        classes: Count = 16
        temperature: Positive = 1.0  # at the start of training
        last_temperature: Positive = 0.5

    def __init__(self, config: Any, spec: LikelihoodSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, self.codes = config, config.groups * config.classes
        self.encoder = StateSpaceNetwork(self.inputs, c.width, c.depth, self.both, c.scan)
        self.logits = nn.Linear(c.width, self.codes)
        self.decoder = StateSpaceNetwork(self.codes, c.width, c.depth, scan=c.scan)

    def posterior(self, x: Tensor) -> Tensor:
        """Log-probabilities of the codes of ``x`` (B, T, D): ``(B, T, G, K)``."""
        logits = at_least_single(self.logits(self.encoder(x)[0]))
        return logits.unflatten(2, (self.config.groups, self.config.classes)).log_softmax(3)

    def kl(self, log_q: Tensor) -> Tensor:
        """KL_t ``(B, T)``."""
        return (log_q.exp() * (log_q + math.log(self.config.classes))).sum((2, 3))

    def straight_through(self, log_q: Tensor) -> Tensor:
        """One-hot codes ``(B, T, G K)``, with the gradient of their relaxation."""
        c = self.config
        temperature = c.temperature + (c.last_temperature - c.temperature) * self.progress
        soft = OneHots(log_q.flatten(1, 2)).relaxed(temperature).view_as(log_q)
        hard = F.one_hot(soft.argmax(3), c.classes).to(soft.dtype)
        return (hard + soft - soft.detach()).flatten(2)

    def drawn_codes(self, log_q: Tensor) -> Tensor:
        """Codes ``(B, T, G K)`` by log-probabilities (B, T, G, K)."""
        return OneHots(log_q.flatten(1, 2)).sample().z.view(*log_q.shape[:2], self.codes)

    def prior_codes(self, n: int, length: int) -> Tensor:
        """``(n, length, G K)``: each step by itself."""
        return self.drawn_codes(self.head.weight.new_zeros(n, length, self.config.groups, self.config.classes))

    def decode(self, z: Tensor, before: State | None = None) -> tuple[Tensor, State]:
        """What the head says of each step of ``z`` (B, T, G K), ``(B, T, D)``, and the decoder's last states."""
        h, states = self.decoder(z, before)
        return self.head(h), states

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        log_q = self.posterior(x)
        reconstruction = -self.likelihood.log_prob(x, self.decode(self.straight_through(log_q))[0]).sum(1).mean()
        kl = self.kl(log_q).sum(1).mean()
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    @torch.no_grad()
    def log_p(self, x: Tensor) -> Tensor:
        """The bound by one draw of the codes."""
        log_q = self.posterior(x)
        given = self.likelihood.log_prob(x, self.decode(self.drawn_codes(log_q))[0])
        return (given - self.kl(log_q)).sum(1)

    @torch.no_grad()
    def divergences(self, x: Tensor) -> Tensor:
        return self.kl(self.posterior(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        return self.likelihood.draw(self.decode(self.prior_codes(n, self.length))[0])
