"""Autoregression of order one on padded sequences, with dropout of terms."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from elboard.bench.card import MethodCard
from elboard.bench.method import Method

CARD = MethodCard(name="test-regression", title="Autoregression", family="test")


class Regression(Method):
    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.05
        pause: float = 0.0

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.a = torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        time.sleep(self.config.pause)
        x, t = batch["x"], torch.arange(1, batch["x"].shape[1], device=self.a.device)
        counts = (t < batch["length"][:, None]).float()
        if self.training:
            counts = counts * (torch.rand_like(counts) < 0.9)
        return {"loss": ((x[:, 1:] - self.a * x[:, :-1]).square() * counts).sum() / counts.sum().clamp(min=1)}
