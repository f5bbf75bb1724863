"""What one-step students of a trained diffusion share: the teacher's clean data, the student's, and its average.

    x = G(eps) = data of sigma eps at the latest time, by one evaluation of a network of the teacher's kind

A student of images has the teacher's network and starts from its weights; one of vectors has dense layers of its own size, ``hidden``, and
starts untrained. The average of its weights over steps is what samples.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.diffusion.base import CHUNK, Diffusion
from elboard.methods.parts.averaging import follow
from elboard.methods.parts.diffusion_networks import TimeMLP


class OneStep(Method, Generator):
    """Starts from the run ``teacher``; a subclass says how the student learns. Raises UserError if that is no diffusion."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        schedule: Literal["constant", "cosine"] = "cosine"  # as the teacher
        hidden: list[Count] = field(default_factory=lambda: [64, 64, 64])  # of a student of vectors
        ema: Share = 0.999

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, Diffusion):
            raise UserError(f"{type(self.base).__name__} is no diffusion that could be distilled: flow-matching or ddpm is")
        self.student = copy.deepcopy(self.teacher.average) if self.teacher.pixels else TimeMLP(spec.shape, config.hidden)
        self.student.requires_grad_(True).train()  # the teacher's is in evaluation mode
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average

    @property
    def teacher(self) -> Diffusion:
        return self.base

    def data(self, network: nn.Module, x_t: Tensor, t: Tensor) -> Tensor:
        """Clean data (B, *shape) by a network of the teacher's kind, at times (B,)."""
        of = self.teacher
        return of.path.view(of.config.target, of.out(x_t, t, network), x_t, of.wide(t)).data

    def made(self, network: nn.Module, n: int) -> Tensor:
        """``n`` samples of a student in the teacher's units, by one evaluation."""
        like, path = self.teacher.centre, self.teacher.path
        t = torch.full((n,), path.latest, dtype=like.dtype, device=like.device)
        return self.data(network, path.sigma(self.teacher.wide(t)) * torch.randn(n, *self.spec.shape, device=like.device), t)

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.averaged += 1
        follow(self.average, self.student, self.averaged, self.config.ema)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        x = torch.cat([self.made(self.average, min(CHUNK, n - i)) for i in range(0, n, CHUNK)])
        x = x.clamp(-1, 1) if self.teacher.pixels and self.teacher.config.clip_data else x
        return self.teacher.centre + self.teacher.scale * x
