"""Samplers of a class-conditional diffusion of MNIST on 14 x 14 pixels, by the evaluations of its network that they spend; no guidance.

``/eN``: at most N evaluations a sample; ``/reference``: the sampler that the model was made for (Ho et al. 2020) in ``reference`` steps.
``fd_ratio/eN`` is the distance with N over that of the reference. See :mod:`elboard.tasks.sampling.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.options import Count
from elboard.tasks.sampling.base import Sampling, Setting

CARD = TaskCard(
    name="sampling/mnist14",
    title="Samplers of one diffusion, by evaluations of its network",
    needs=("StepSampler",),
    primary="fd_ratio/e25",
    metrics=("fd_ratio/e10", "fd_ratio/e25", "fd_ratio/e50", "fd_ratio/e100", "fd/e10", "fd/e50", "fd/reference", "control_accuracy/e50"),
    selection="fd[mnist-cnn,n=500]/e25",
    data=("mnist",),
    papers=("097", "024"),
    full="10,000 samples and a reference of 1,000 steps, as the paper has it, of a model of 300 epochs",
    work={"lite": (20_000, 585_000), "full": (50_000, 11_850_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 1},
        "task": {"n_train": 600, "n_valid": 200, "n_test": 60, "reference": 20},
    },
    "lite": {"train": {"epochs": 1}, "task": {}},
    "full": {"train": {"epochs": 1}, "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "reference": 1000}},
}


class Samplers(Sampling):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Sampling.Config):
        evaluations: list[Count] = field(default_factory=lambda: [10, 25, 50, 100])
        reference: Count = 400

    def settings(self) -> list[Setting]:
        return [(0, 1.0), *((e, 1.0) for e in self.config.evaluations)]

    def chosen(self) -> Setting:
        return 25, 1.0

    @classmethod
    def named(cls, evaluations: int, guidance: float) -> str:
        return f"e{evaluations}" if evaluations else "reference"

    @classmethod
    def derived(cls, found: dict[str, float], observed: Mapping[str, np.ndarray], parameters: str) -> dict[str, float]:
        of = {e: found[f"fd{parameters}/{cls.named(e, 1.0)}"] for e in observed["evaluations"].tolist()}
        return {f"fd_ratio{parameters}/e{e}": value / of[0] for e, value in of.items() if e}
