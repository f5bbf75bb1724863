"""A linear policy learned by REINFORCE (Williams 1992) from the rewards of its episodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.distributions import Normal

from elboard.bench.card import MethodCard
from elboard.bench.method import Method

CARD = MethodCard(name="test-reinforce", title="REINFORCE", family="test")


class Reinforce(Method):
    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.02

    def __init__(self, config, spec, bases=None):
        super().__init__(config, spec, bases)
        self.gain = torch.nn.Parameter(torch.zeros(()))

    def prepare(self, data):
        self.__dict__["environment"] = data.oracle

    def act(self, state):
        return self.gain * state

    def loss(self, batch):
        state, score, total = batch["state"], 0.0, 0.0
        for _ in range(self.environment.horizon):
            policy = Normal(self.act(state), 0.3)
            action = policy.sample()
            score = score + policy.log_prob(action).sum(1)
            state, reward = self.environment.step(state, action)
            total = total + reward
        return {"loss": -(score * (total - total.mean())).mean(), "reward": total.mean()}
