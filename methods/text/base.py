"""What models of text share: one transformer, averaged weights, and of masked diffusions their bound and their samples.

A masked diffusion is trained on the negative bound on log p(x) in nats a token (:mod:`elboard.methods.parts.masked_diffusion`), of times
that are even over a batch up to one uniform draw (Shi et al. 2024), and judged by the same bound with the weights' average.
The network sees masks alone and not the time unless ``timed``: of equal masks the best prediction is the same at all times.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor

from elboard.bench.kinds.text import MaskedBound, Predictor, TokenModel, TokenSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Positive, Range, Share
from elboard.bench.task import Batch
from elboard.methods.parts.averaging import follow
from elboard.methods.parts.enumerated_masks import surprises
from elboard.methods.parts.masked_diffusion import Kind, Schedule, ancestral, noised, stratified, surprise
from elboard.methods.parts.token_networks import TokenTransformer

ROWS = 2048  # sequences a forward pass of an evaluation


class TokenMethod(Method, TokenModel):
    """A transformer of tokens; subclasses say what it is shown and what it predicts."""

    causal = False

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 4e-3
        optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
        weight_decay: NonNegative = 0.03  # of the paper's text8
        schedule: Literal["constant", "cosine"] = "cosine"
        warmup: Share = 0.05
        clip: NonNegative = 1.0
        width: Count = 64
        depth: Count = 3
        heads: Count = 4
        dropout: Annotated[float, Range(0, below=1)] = 0.0
        timed: bool = False  # whether the network is told the time
        ema: Share = 0.999

    def __init__(self, config: Any, spec: TokenSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c, (self.length,), self.letters = config, spec.shape, spec.letters
        words = {"dropout": c.dropout, "causal": self.causal, "timed": c.timed}
        self.network = TokenTransformer(self.letters, self.length, c.width, c.depth, c.heads, **words)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average

    def log_p(self, z: Tensor, t: Tensor, known: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, L, K) of ``z`` (B, L) at times (B,), given what is ``known`` of each sequence: while it learns of the
        present weights, else of their average."""
        network = self.network if torch.is_grad_enabled() else self.average.eval()
        return network(z, t if self.config.timed else None, known)

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.averaged += 1
        follow(self.average, self.network, self.averaged, self.config.ema)


class MaskedTokens(TokenMethod):
    """Subclasses give the weights of the terms of their bound, or the terms themselves, and the times of samples."""

    @dataclass(kw_only=True)
    class Config(TokenMethod.Config):
        masking: Literal["linear", "cosine", "polynomial"] = "linear"
        power: Positive = 2.0  # of the polynomial
        offset: Annotated[float, Range(0, below=0.5)] = 1e-4  # of the shares of masks from 0 and 1
        draws: Count = 1  # noised versions of each example in a step

    def __init__(self, config: Any, spec: TokenSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.process = Schedule(config.masking, config.power, config.offset)

    def terms(self, x: Tensor, t: Tensor) -> Tensor:
        """The negative bound without its ends, nats (B,), of ``x`` (B, L) by one draw of z at each of the times (B,) in [0, 1)."""
        t, weight = self.weighted(t)
        z = noised(x, self.process.masked(t)[:, None], self.letters)
        return weight * surprise(self.log_p(z, t), x, z).sum(1)

    def weighted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The times at which ``t`` (B,) in [0, 1) are looked at, and the weights of their terms."""
        raise NotImplementedError

    def ends(self) -> float | Tensor:
        """What the bound has beside the terms, nats, a number or (B,)."""
        return self.process.ends(self.length, self.letters)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].repeat(self.config.draws, 1)
        terms = self.terms(x, stratified(1, len(x), x)[0])
        return {"loss": terms.mean() / self.length, "bits": terms.detach().mean() / (self.length * math.log(2))}

    @torch.no_grad()
    def nats(self, x: Tensor, draws: int) -> Tensor:
        times = stratified(len(x), draws, x)
        found = [self.terms(a, t) for a, t in zip(x.repeat_interleave(draws, 0).split(ROWS), times.flatten().split(ROWS), strict=True)]
        return torch.cat(found).view(len(x), draws) + self.ends()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        times = torch.tensor(self.grid(), device=self.averaged.device)
        return ancestral(self.log_p, (n, self.length), self.letters, self.process.masked, times)

    def grid(self) -> list[float]:
        """The times of the reverse process, from 1 to 0."""
        raise NotImplementedError


class MaskedDiffusion(MaskedTokens, MaskedBound):
    """Subclasses give their bound enumerated too, of short sequences."""

    def enumerated(self, found: Tensor, process: Schedule) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B,) of the terms on the schedule ``process``, of the surprises ``found`` (B, 2^L, L)."""
        raise NotImplementedError

    def surprises(self, predict: Predictor, x: Tensor) -> Tensor:
        """Of all sets of what may be masked in ``x`` (B, L): (B, 2^L, L), see :mod:`elboard.methods.parts.enumerated_masks`."""
        return surprises(predict, x, self.letters)

    def bound_moments(self, predict: Predictor, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = self.enumerated(self.surprises(predict, x), self.process)
        return mean + self.ends(), deviation

    def under_schedules(self, predict: Predictor, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.surprises(predict, x)
        each = [self.enumerated(found, replace(self.process, kind=kind)) for kind in get_args(Kind)]
        means, deviations = (torch.stack(of, 1) for of in zip(*each, strict=True))
        return means + self.ends(), deviations
