"""Binary perceptrons that learn from two teachers in turn, in the fields of their weights (Li, Huang, Zou and Huang 2023).

    L_1 = sum_mu -ln H(-y_mu sum_i m_i x_i / sqrt(sum_i (1 - m_i^2))),    H(x) = erfc(x / sqrt 2) / 2,    m = tanh(theta)
    L_2 = the same of the second teacher's patterns + KL(q_theta || q_theta1)

-ln H is that of the probability that weights drawn from q answer right, by the Gaussian limit of their sum. theta1 are the fields at the
end of the first task. ``kl`` = 0 leaves the KL out.

``student`` says which fields are looked for: ``descent``, by Adam on all patterns, as the authors; ``langevin``, a draw from the law
exp(-b L) dm, b = ``inverse``, which the replica method is of. In fields it is exp(-b L) prod_i dtheta_i / cosh^2 theta_i,

    theta <- theta - h grad (b L + 2 sum_i ln cosh theta_i) + sqrt(2 h) N(0, 1),    h = ``step``.

Differences from the paper: a quarter of its 20,000 steps of each task, four times as long; Langevin students are ours. Fields that descend
become ever more certain of the first task (m^2 is 0.995 in the mean after 2,000 steps, where the law of b = 20 has 0.91), and what is
certain costs the more KL to turn, so that students by descent forget and learn less than those of the law. Wrong answers of such fields
have large energies at the first steps of the second task, as their sums have next to no spread; 300 steps later they are gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import PerceptronSpec, TwoTeachers
from elboard.bench.method import Bases, Method
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch
from elboard.methods.parts.fields import kl_of_fields, log_cosh

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
        student: Literal["descent", "langevin"] = "descent"
        inverse: Positive = 20.0  # temperature
        step: Positive = 0.005

    def __init__(self, config: Any, spec: PerceptronSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        drawn = config.start * torch.randn(spec.repeats, len(spec.settings), *spec.shape)
        self.theta = nn.Parameter(drawn)
        self.register_buffer("reference", drawn.clone())

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        if self.config.student == "langevin":
            return torch.optim.SGD(groups, lr=self.config.step)
        return super().make_optimizer(groups)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        """A Langevin student goes down by at most 1 a step in each field, which draws of the law hardly ever would: where the second
        teacher begins slopes are so steep that fields would else be thrown beyond all spread, to NaN."""
        if self.config.student == "langevin":
            self.theta.grad.clamp_(-1 / self.config.step, 1 / self.config.step)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def energy(self, batch: Batch) -> Tensor:
        """sum_mu -ln H of each student, ``(R, S)``."""
        sums = self.theta.tanh() @ batch["x"].mT
        spread = (1 / self.theta.cosh().square()).sum(-1, keepdim=True)
        return -(torch.special.log_ndtr(batch["y"] * sums / (spread + 1e-30).sqrt()) * batch["seen"]).sum(-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """In the mean over students and weights; the sum of potentials of Langevin students, whose steps are of each alone."""
        energy, n = self.energy(batch), self.theta.numel()
        kl = (batch["stage"][0] == 1) * kl_of_fields(self.theta, self.reference, 1.0).sum(-1)
        whole = (energy + self.config.kl * kl).sum()
        loss = whole / n
        if self.config.student == "langevin":
            loss = self.config.inverse * whole + 2 * log_cosh(self.theta).sum()
        return {"loss": loss, "energy": energy.detach().sum() / n, "kl": kl.detach().sum() / n}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        """A Langevin student's noise. The reference is that after each step of the first task, of which the last stays."""
        if self.config.student == "langevin":
            noise = torch.randn_like(self.theta)
            self.agree(noise)
            self.theta += math.sqrt(2 * self.config.step) * noise
        if batch["stage"][0] == 0:
            self.reference.copy_(self.theta)

    def students(self) -> Tensor:
        return self.theta.tanh()
