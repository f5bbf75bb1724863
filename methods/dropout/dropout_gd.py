"""Gradient descent whose noise is that of dropout alone, as Zhang, Li, Luo and Xu 2024 study it.

    theta <- theta - lr grad R_drop(theta; eta),    R_drop = (1/n) sum_i CE(f_drop(x_i; theta, eta), y_i)

All n examples are in each step, and one mask eta of the units of the hidden layers, kept with probability p and scaled by 1/p, serves all
of them: nothing else is random. ``noise=batches`` has no masks and takes ``size`` examples a step instead, whose noise was the first of
which variances and flatness were compared (Feng and Tu 2021).

The weights at the last ``window`` steps are remembered: where noise carries them is one set whose principal directions are measured; the
gradients by new masks at the last weights are the other one.

Differences from the paper: fully connected with two hidden layers of 20 units and tanh, whose Hessian is exact and exists everywhere, for
8x8 digits; cross-entropy; rate, length and window are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.dynamics import DescentSpec, NoisyDescent
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Batch, Data

CARD = MethodCard(
    name="dropout-gd",
    title="Full-batch descent with dropout",
    family="dropout",
    home="dynamics/digits",
    paper="009",
    cite="Zhang, Li, Luo and Xu 2024",
    defaults="convention",
)


class DropoutGD(Method, NoisyDescent):
    """See the module.

    Attributes:
        theta: all weights ``(P,)``, of each layer the matrix (inputs, outputs) and the biases.
        ring: past ones ``(window, P)``, of which ``written`` were written.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        optimizer: Literal["sgd"] = "sgd"
        lr: Positive = 0.05
        momentum: Annotated[float, Range(0, 0)] = 0.0
        hidden: list[Count] = field(default_factory=lambda: [20, 20])
        noise: Literal["dropout", "batches"] = "dropout"
        size: Count = 50  # examples a step, of noise=batches
        window: Count = 1000

    def __init__(self, config: Any, spec: DescentSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.sizes = list(pairwise([math.prod(spec.shape), *config.hidden, spec.n_classes]))
        limits = [math.sqrt(6 / (a + b)) for a, b in self.sizes]
        drawn = [
            torch.cat([torch.empty(a * b).uniform_(-limit, limit), torch.zeros(b)])
            for (a, b), limit in zip(self.sizes, limits, strict=True)
        ]
        self.theta = nn.Parameter(torch.cat(drawn))
        self.register_buffer("ring", torch.zeros(config.window, len(self.theta)))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))
        self.register_buffer("x", torch.zeros(spec.n_train, math.prod(spec.shape)), persistent=False)
        self.register_buffer("y", torch.zeros(spec.n_train, dtype=torch.long), persistent=False)

    def prepare(self, data: Data) -> None:
        self.x.copy_(data.train["x"].flatten(1))
        self.y.copy_(data.train["y"])

    # --- the network ---------------------------------------------------------------------------------

    def logits(self, theta: Tensor, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        """``(N, classes)`` of flat ``x`` (N, D), with the factors ``masks`` of the units of each hidden layer."""
        h, at = x, 0
        for i, (a, b) in enumerate(self.sizes):
            h = h @ theta[at : at + a * b].view(a, b) + theta[at + a * b : at + (a + 1) * b]
            at += (a + 1) * b
            if i + 1 < len(self.sizes):
                h = torch.tanh(h) * masks[i] if masks else torch.tanh(h)
        return h

    def masks(self) -> list[Tensor]:
        """One factor of each hidden unit, 0 or 1/p; the same in all processes."""
        keep = self.spec.keep
        drawn = [(torch.rand(width, device=self.theta.device) < keep).float() / keep for width in self.config.hidden]
        self.agree(*drawn)
        return drawn

    def noisy(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The loss with noise drawn anew."""
        if self.config.noise == "dropout":
            return F.cross_entropy(self.logits(theta, x, self.masks()), y)
        size = max(1, self.config.size * len(x) // self.spec.n_train)  # of a process's share of the examples its share of them
        few = torch.randperm(len(x), device=x.device)[:size]
        return F.cross_entropy(self.logits(theta, x[few]), y[few])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.noisy(self.theta, batch["x"].flatten(1), batch["y"])}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.ring[self.written % self.config.window] = self.theta
        self.written += 1

    # --- what is asked -------------------------------------------------------------------------------

    def probabilities(self, x: Tensor) -> Tensor:
        return self.logits(self.theta, x.flatten(1)).softmax(1)

    def iterates(self) -> Tensor:
        written, window = int(self.written), self.config.window
        return self.ring[:written] if written < window else self.ring.roll(-(written % window), 0)

    def weights(self) -> Tensor:
        return self.theta.detach()

    def risk(self, weights: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(weights, self.x), self.y)

    @torch.enable_grad()
    def gradients(self, n: int) -> Tensor:
        return torch.stack([torch.autograd.grad(self.noisy(self.theta, self.x, self.y), self.theta)[0] for _ in range(n)])
