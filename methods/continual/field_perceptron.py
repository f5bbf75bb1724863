"""Binary perceptrons that learn from two teachers in turn, in the fields of their weights (Li, Huang, Zou and Huang 2023).

    L_1 = sum_mu -ln H(-y_mu sum_i m_i x_i / sqrt(sum_i (1 - m_i^2))),    H(x) = erfc(x / sqrt 2) / 2,    m = tanh(theta)
    L_2 = the same of the second teacher's patterns + KL(q_theta || q_theta1)

-ln H is that of the probability that weights drawn from q answer right, by the Gaussian limit of their sum. theta1 are the fields at the
end of the first task. ``kl`` = 0 leaves the KL out.

Full-batch descent by Adam; each student's loss is its own. Differences from the paper: fewer and longer steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import PerceptronSpec, TwoTeachers
from elboard.bench.method import Bases, Method
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.parts.fields import kl_of_fields

CARD = MethodCard(
    name="field-perceptron",
    title="Binary perceptrons of two teachers, in the fields of their weights",
    family="continual",
    home="continual/perceptron",
    paper="059",
    cite="Li, Huang, Zou and Huang 2023",
    defaults="convention",
)


class FieldPerceptron(Method, TwoTeachers):
    """Attributes: theta: fields ``(R, S, N)``; reference: those at the end of the first task."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 0.02
        start: Positive = 0.1  # deviation of the fields at the start
        kl: NonNegative = 1.0

    def __init__(self, config: Any, spec: PerceptronSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        drawn = config.start * torch.randn(spec.repeats, len(spec.settings), *spec.shape)
        self.theta = nn.Parameter(drawn)
        self.register_buffer("reference", drawn.clone())

    def energy(self, batch: Batch) -> Tensor:
        """sum_mu -ln H of each student, ``(R, S)``."""
        sums = self.theta.tanh() @ batch["x"].mT
        spread = (1 / self.theta.cosh().square()).sum(-1, keepdim=True)
        return -(torch.special.log_ndtr(batch["y"] * sums / (spread + 1e-30).sqrt()) * batch["seen"]).sum(-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """In the mean over students and weights."""
        second, n = batch["task"][0].float(), self.theta.shape[-1]
        energy = self.energy(batch).mean() / n
        kl = second * kl_of_fields(self.theta, self.reference, 1.0).sum(-1).mean() / n
        return {"loss": energy + self.config.kl * kl, "energy": energy, "kl": kl}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        """The fields after each step of the first task, of which those after its last are what the second task refers to."""
        first = batch["task"][0] == 0
        self.reference.copy_(torch.where(first, self.theta, self.reference))

    def students(self) -> Tensor:
        return self.theta.tanh()
