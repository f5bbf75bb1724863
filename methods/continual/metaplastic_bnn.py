"""Binarised networks with metaplastic synapses (Laborieux, Ernoult, Hirtzlin and Querlioz 2021, algorithm 1).

Each weight is the sign of a hidden one, W^b = sign(W^h), and the gradient of W^b is taken for that of W^h. Adam's step U of the hidden
weight is made smaller where it would weaken it,

    W^h <- W^h - U f(m W^h)  where W^b U > 0,    W^h <- W^h - U  elsewhere,    f(x) = 1 - tanh^2(x),

so that a weight which was pushed often into one direction is hard to turn round: it is consolidated. ``m`` = 0 is an ordinary binarised
network (Courbariaux et al. 2016).

Differences from the paper: activations are ReLU and inputs of units scaled by 1/sqrt N, as in the networks of binary fields that it is
compared with, instead of signs after batch normalisation, whose statistics would be those of the last task; one schedule of Adam.
Hidden weights start uniform on [-1, 1] / sqrt N. m = 1.35 (of permuted MNIST) and the learning rate 0.005 are from memory of the paper,
unverified, and were not searched for here; the rule is that of public implementations. Against steps of 0.005 such weights are small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import SequenceSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.continual.base import Sequential, hit

CARD = MethodCard(
    name="metaplastic-bnn",
    title="Binarised network with metaplastic synapses",
    family="continual",
    home="continual/permuted-mnist",
    cite="Laborieux et al. 2021",
    splits=True,
    defaults="convention",
)


class MetaplasticBNN(Sequential):
    """Attributes: hidden: hidden weights of each layer (outputs, inputs); before: those before the step to come."""

    @dataclass(kw_only=True)
    class Config(Sequential.Config):
        lr: Positive = 0.005
        m: NonNegative = 1.35

    def __init__(self, config: Any, spec: SequenceSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        sizes = pairwise([math.prod(spec.shape), *spec.hidden, spec.n_classes])
        self.hidden = nn.ParameterList([(2 * torch.rand(b, a) - 1) / math.sqrt(a) for a, b in sizes])
        for i, weight in enumerate(self.hidden):
            self.register_buffer(f"before{i}", weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)``."""
        a = x.flatten(1)
        for i, weight in enumerate(self.hidden):
            binary = weight + (torch.where(weight < 0, -1.0, 1.0) - weight).detach()
            z = F.linear(a, binary) / math.sqrt(a.shape[1])
            a = z.relu() if i + 1 < len(self.hidden) else z
        return at_least_single(a)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self(batch["x"])
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": hit(logits, batch["y"])}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        for i, weight in enumerate(self.hidden):
            before = getattr(self, f"before{i}")
            weight.copy_(consolidated(before, weight, self.config.m))
            before.copy_(weight)

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self(x).softmax(1)[None]


def consolidated(before: Tensor, after: Tensor, m: float) -> Tensor:
    """Hidden weights after the step from ``before`` to ``after`` that is metaplastic with ``m``."""
    step = after - before
    weakens = before * step < 0
    return before + step * torch.where(weakens, 1 - (m * before).tanh().square(), 1.0)
