"""A diagonal Gaussian fitted to a target density by KL(q || p), from draws of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from elboard.bench.card import MethodCard
from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Method

CARD = MethodCard(name="test-reverse-kl", title="Gaussian by reverse KL", family="test")


class ReverseKL(Method, Generator):
    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.1
        draws: int = 16

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.mean = torch.nn.Parameter(torch.zeros(spec.shape))
        self.log_scale = torch.nn.Parameter(torch.zeros(spec.shape))

    def prepare(self, data):
        self.__dict__["target"] = data.oracle

    def sample(self, n):
        return self.mean + self.log_scale.exp() * torch.randn(n, *self.spec.shape, device=self.mean.device)

    def loss(self, batch):
        assert batch == {}
        return {"loss": -self.log_scale.sum() - self.target.log_prob(self.sample(self.config.draws)).mean()}
