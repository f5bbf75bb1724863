"""What tasks of mutual information share: batches of pairs of several laws, estimates from new batches, their moments.

A run trains a critic for each law, all for the same number of steps, on batches of 64 pairs. Then the critics stay as they are, and each of
``n_test`` new batches of 64 gives an estimate; what is reported is of their mean and variance. Test batches belong to the task: all runs
see the same. The last epoch is kept: estimates are not to be chosen by what they should be.

Evidence: ``mean`` and ``variance`` (L,) of the estimates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator

from elboard.bench.batches import Batch
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.stacked import STEPS, StackedBatches

PAIRS = 64  # of a batch
EPOCH = PAIRS * STEPS
PARTS = {"valid": 3_141_592_653, "test": 2_718_281_828}  # seeds of their batches


class PairBatches(StackedBatches):
    """Batches that the task draws."""

    def __init__(self, task: Information, data: Data, train: Mapping[str, Any], seed: int):
        super().__init__(seed, train["batch_size"])
        self.task, self.data = task, data

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        return self.task.pairs(self.data.train, self.batch_size, generator)


class Information(Task):
    """A subclass gives the pairs, and what is made of the estimates (``measure``)."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_valid: Count = 50  # batches
        n_test: Count = 1000

    @abstractmethod
    def pairs(self, of: Batch, n: int, generator: Generator) -> Batch:
        """``n`` pairs of each law, ``x`` (L, n, Dx) and ``y`` (L, n, Dy), from the examples ``of`` (none, where laws are known)."""

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> PairBatches:
        return PairBatches(self, data, train, seed)

    def estimates(self, method: Any, of: Batch, part: str) -> dict[str, np.ndarray]:
        """Moments of the estimates from the batches of a ``part``."""
        generator, found = Generator().manual_seed(PARTS[part]), []
        for _ in range(self.config.n_valid if part == "valid" else self.config.n_test):
            pairs = self.pairs(of, PAIRS, generator)
            found.append(method.estimate(pairs["x"].to(self.device), pairs["y"].to(self.device)))
        values = torch.stack(found).double().cpu().numpy()
        return {"mean": values.mean(0), "variance": values.var(0)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self.estimates(method, test, "test") | self.known())

    def known(self) -> dict[str, np.ndarray]:
        """What else ``measure`` needs."""
        return {}
