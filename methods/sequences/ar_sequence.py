"""Autoregressive models of sequences of vectors, which variational ones stand against (Gu et al. 2022; Vaswani et al. 2017).

    log p(x) = sum_t log p(x_t | h_t),   h_t by x_1..x_(t-1)

``backbone``: "ssm", the blocks that :mod:`elboard.methods.sequences.vssm` decodes with, in the place of Mamba's, whose lambda depends on
the input; or "transformer", a causal one with half as many blocks, which have twice as many weights. The numbers of a step are
independent given h_t, as those of all models here.

All steps are looked at together in training and are drawn one after the other: the state-space layers keep their last state, attention
keys and values, so that no step is computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.kinds.sequences import SequenceCompleter
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.parts.state_spaces import StateSpaceNetwork
from elboard.methods.parts.token_networks import Past, Transformer
from elboard.methods.sequences.base import SequenceMethod

CARD = MethodCard(
    name="ar-sequence",
    title="Autoregressive state-space model or transformer of vectors",
    family="sequences",
    home="sequences/mnist-rows",
    cite="Gu et al. 2022",
    splits=True,
    defaults="convention",
)


class CausalTransformer(nn.Module):
    """Vectors ``(B, T, inputs)`` to ``(B, T, width)``, and what it keeps of them for those that follow."""

    def __init__(self, inputs: int, length: int, width: int, depth: int, heads: int):
        super().__init__()
        self.embed, self.body = nn.Linear(inputs, width), Transformer(length, width, depth, heads, causal=True)

    def forward(self, u: Tensor, before: list[Past] | None = None) -> tuple[Tensor, list[Past]]:
        pasts = [list(past) for past in before] if before else [[] for _ in self.body.blocks]
        return self.body(self.embed(u), pasts=pasts), pasts


class ARSequence(SequenceMethod, SequenceCompleter):
    """See the module."""

    exact = True

    @dataclass(kw_only=True)
    class Config(SequenceMethod.Config):
        backbone: Literal["ssm", "transformer"] = "ssm"
        heads: Count = 4

    def __init__(self, config: Any, spec: LikelihoodSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        c = config
        if c.backbone == "ssm":
            self.network = StateSpaceNetwork(self.inputs, c.width, c.depth, scan=c.scan)
        else:
            self.network = CausalTransformer(self.inputs, self.length, c.width, max(1, c.depth // 2), c.heads)
        self.start = nn.Parameter(torch.zeros(self.inputs))  # what the first step is shown

    def shown(self, x: Tensor) -> Tensor:
        """``x`` (B, T, D) a step later."""
        return torch.cat([self.start.expand(len(x), 1, -1), x[:, :-1]], 1)

    def log_p(self, x: Tensor) -> Tensor:
        """log p(x) itself."""
        return self.likelihood.log_prob(x, self.head(self.network(self.shown(x))[0])).sum(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.log_p(batch["x"]).mean()}

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        return self._drawn(self.start.expand(n, 1, -1), None, self.length)

    @torch.no_grad()
    def complete(self, x: Tensor) -> Tensor:
        _, before = self.network(self.shown(x))
        return torch.cat([x, self._drawn(x[:, -1:], before, self.length - x.shape[1])], 1)

    def _drawn(self, now: Tensor, before: Any, steps: int) -> Tensor:
        """``(B, steps, D)`` that follow ``now`` (B, 1, D), of which the network has kept what came ``before``."""
        found = []
        for _ in range(steps):
            h, before = self.network(now, before)
            now = self.likelihood.draw(self.head(h))
            found.append(now)
        return torch.cat(found, 1)
