"""A network with binary weights whose fields are learned, without anything against forgetting (Li, Huang, Zou and Huang 2023).

    q(w) = exp(beta w theta) / (2 cosh(beta theta)),    m = tanh(beta theta),    s^2 = 1 - m^2
    z_j = (1/sqrt N) sum_i m_ij a_i + eps_j ((1/N) sum_i s_ij^2 a_i^2)^(1/2),    eps_j ~ N(0, 1)
    L = E_eps CE(softmax z_L, y),    a = max(z, 0)

The sum of N independent binary weights is nearly Gaussian, whose two moments the fields give, so that descent in fields is by ordinary
gradients:

    dL/dtheta_ij = beta s_ij^2 [ delta_j a_i / sqrt N - (m_ij / N) eps_j delta_j a_i^2 / std_j ]

They vanish where |beta theta| is large: a weight that is decided moves no more. beta rises from 1 to 9.7 over all tasks together,

    beta = 10 tanh(0.1 + 2 t),    t the share of training that is done,

and fields start at N(0, 1). Nothing is reset between tasks, nor is the state of Adam (0.9, 0.99).

``test`` says by what it predicts: ``noise``, the sums above, in the mean over draws; ``mean``, without their noise; ``sign``, by the binary
weights w = sign(theta).

Differences from the paper: beta is changed at each step, not at each epoch; means over draws at test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import SequenceSpec
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import Positive
from elboard.bench.task import Batch
from elboard.methods.continual.base import Sequential, hit
from elboard.methods.parts.fields import noisy_sums

CARD = MethodCard(
    name="field-binary-no-kl",
    title="Binary weights by their fields, without a KL term",
    family="continual",
    home="continual/permuted-mnist",
    paper="059",
    cite="Li, Huang, Zou and Huang 2023",
    splits=True,
    defaults="paper",
)


class FieldBinary(Sequential):
    """Attributes: theta: fields of all layers ``(P,)``, of each a matrix (outputs, inputs)."""

    @dataclass(kw_only=True)
    class Config(Sequential.Config):
        lr: Positive = 0.01
        beta: Positive = 10.0  # what it is near to at the end
        test: Literal["noise", "mean", "sign"] = "noise"

    def __init__(self, config: Any, spec: SequenceSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.sizes = list(pairwise([math.prod(spec.shape), *spec.hidden, spec.n_classes]))
        self.theta = nn.Parameter(torch.randn(sum(a * b for a, b in self.sizes)))

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        optimizer = super().make_optimizer(groups)
        for group in optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (0.9, 0.99)
        return optimizer

    def temper(self) -> float:
        """The present beta."""
        return self.config.beta * math.tanh(0.1 + 2 * self.progress)

    def means(self) -> list[Tensor]:
        """m of each layer ``(outputs, inputs)``."""
        parts = (self.temper() * self.theta).tanh().split([a * b for a, b in self.sizes])
        return [part.view(b, a) for part, (a, b) in zip(parts, self.sizes, strict=True)]

    def logits(self, x: Tensor, means: list[Tensor], noisy: bool) -> Tensor:
        """``(B, C)`` of inputs ``x`` (B, ...), with noise drawn anew for each input and unit."""
        a = x.flatten(1)
        for i, mean in enumerate(means):
            noise = torch.randn(len(a), len(mean), device=a.device, dtype=a.dtype) if noisy else 0.0
            z = noisy_sums(a, mean, noise)
            a = z.relu() if i + 1 < len(means) else at_least_single(z)
        return a

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch["x"], self.means(), noisy=True)
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": hit(logits, batch["y"])}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(S, B, C)``, S = 1 where nothing is drawn."""
        means = self.means()
        if self.config.test == "noise":
            return torch.stack([self.logits(x, means, noisy=True).softmax(1) for _ in range(n_samples)])
        means = [mean.sign() for mean in means] if self.config.test == "sign" else means
        return self.logits(x, means, noisy=False).softmax(1)[None]
