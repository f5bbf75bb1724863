"""Variational continual learning in the fields of binary weights (Li, Huang, Zou and Huang 2023).

    L_k = E_eps CE + w KL(q_theta || q_ref),    dKL/dtheta = beta^2 (1 - tanh^2(beta theta)) (theta - ref)

The network and its fields are those of ``field-binary-no-kl``. The posterior of what was learned is the prior of what comes: the variance
1 - m^2 of a weight says how free it is, and the KL holds back fields that have become certain of something.

``ref`` says what the prior is:

* ``last-step``: the fields before the last update, as in the authors' deep networks, where the posterior after each mini-batch is the
  prior of the next. theta - ref is the last step, so that the term acts against it, the more the less certain a weight is.
* ``previous-task``: the fields at the end of the previous task, as in the authors' perceptron and in variational continual learning. The
  first task has no prior.

w = ``kl`` / (number of the task's examples) with ``previous-task``, where CE is a mean of examples and the free energy a sum, so that 1 is
that of the formula; ``kl`` with ``last-step``.

Differences from the paper: those of ``field-binary-no-kl``; the default ``ref`` is that of the free
energy, L_k with the posterior after task k - 1, which the authors' deep networks do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.continual import SequenceSpec
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch
from elboard.methods.continual.field_binary_no_kl import FieldBinary
from elboard.methods.parts.fields import kl_of_fields

CARD = MethodCard(
    name="field-vcl-binary",
    title="Variational continual learning in the fields of binary weights",
    family="continual",
    home="continual/permuted-mnist",
    paper="059",
    cite="Li, Huang, Zou and Huang 2023",
    splits=True,
    defaults="paper",
)


class FieldVCL(FieldBinary):
    """Attributes: reference: fields of the prior ``(P,)``; latest: those before the step to come; held: 1 once there is a prior."""

    @dataclass(kw_only=True)
    class Config(FieldBinary.Config):
        ref: Literal["last-step", "previous-task"] = "previous-task"
        kl: NonNegative = 1.0

    def __init__(self, config: Any, spec: SequenceSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("reference", self.theta.detach().clone())
        self.register_buffer("latest", self.theta.detach().clone())
        self.register_buffer("held", torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out = super().loss(batch)
        kl = self.held * kl_of_fields(self.theta, self.reference, self.temper()).sum()
        weight = self.config.kl / (self.spec.n_train if self.config.ref == "previous-task" else 1)
        return {**out, "loss": out["loss"] + weight * kl, "error": out["loss"].detach(), "kl": kl.detach()}

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        if self.config.ref == "last-step":
            self.reference.copy_(self.latest)
            self.latest.copy_(self.theta)
            self.held.fill_(1.0)

    @torch.no_grad()
    def end_task(self, task: int, examples: Batch) -> None:
        if self.config.ref == "previous-task":
            self.reference.copy_(self.theta)
            self.held.fill_(1.0)
