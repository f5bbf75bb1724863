"""Codes that are told the factors they are scored against stand beside those that see images alone, and never in their place."""

from __future__ import annotations

import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.kinds.disentanglement import FactorsGiven
from elboard.bench.registry import find


class Blind:
    """Knows nothing of an image."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.randn(len(x), 5, generator=torch.Generator().manual_seed(len(x))), torch.zeros(len(x), 5)

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(("elbo", "kl", "reconstruction"), torch.zeros(len(x)))


class Told(Blind, FactorsGiven):
    """Repeats what it is told."""

    def encode_given(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        return factors.float(), torch.zeros(factors.shape)


def test_what_is_told_counts_under_given_alone() -> None:
    entry = find("task", "disentanglement/sprites")
    cls = entry.load()
    task = cls(cls.Config(**{**entry.budgets()["smoke"]["task"], "n_test": 500}), "smoke", 0)
    data, test = loaded(task)
    assert data.spec.factors == (3, 3, 4, 6, 6) and set(data.train) == {"x"}
    blind, told = (scored(cls, task.observe(method, data, test, [])) for method in (Blind(), Told()))
    assert told.metrics["mig/given"] > 0.95 and told.metrics["dci_disentanglement/given"] > 0.95
    assert told.metrics["mig"] < 0.1 > blind.metrics["mig"], "the primary metric sees images alone"
    assert not any(key.endswith("/given") for key in blind.metrics)
    again = cls.score(told.evidence)
    assert abs(again["mig/given"] - told.metrics["mig/given"]) < 1e-6
    assert sum(array.nbytes for array in told.evidence.values()) <= 16 * 1024
