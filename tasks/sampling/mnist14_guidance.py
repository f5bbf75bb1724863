"""Weights of classifier-free guidance (Ho and Salimans 2022) of a class-conditional diffusion of MNIST on 14 x 14 pixels, in a fixed number
of evaluations of the guided model, each of which is two of the network where the weight is not 1.

``/wW``: with the weight W; 1 is no guidance. ``fd_fall`` is the distance without guidance minus that of the middle weight (of an even
number the upper one), ``fd_rise`` that of the largest weight minus it: a curve with its bottom in the middle has both above 0. Where 1 is
not among the weights there is no ``fd_fall``. ``guidance_trend`` is the Spearman correlation of weights and control accuracies, 1 where the
accuracy rises throughout. See :mod:`elboard.tasks.sampling.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from elboard.bench.card import TaskCard
from elboard.bench.metrics.dynamics import spearman
from elboard.bench.options import Count, NonNegative
from elboard.tasks.sampling.base import Sampling, Setting

CARD = TaskCard(
    name="sampling/mnist14-guidance",
    title="Guidance of one diffusion, by its weight",
    needs=("StepSampler",),
    primary="fd/w2",
    metrics=(
        "fd/w2",
        "fd/w1",
        "fd/w5",
        "fd_fall",
        "fd_rise",
        "best_guidance",
        "guidance_trend",
        "control_accuracy/w1",
        "control_accuracy/w5",
        "diversity/w1",
        "diversity/w5",
    ),
    selection="fd[mnist-cnn,n=500]/w2",
    data=("mnist",),
    papers=("097",),
    full="10,000 samples of a model of 300 epochs; no paper's own setting",
    work={"lite": (20_000, 450_000), "full": (50_000, 4_500_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 1}, "task": {"n_train": 600, "n_valid": 200, "n_test": 60, "evaluations": 5}},
    "lite": {"train": {"epochs": 1}, "task": {}},
    "full": {"train": {"epochs": 1}, "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000}},
}


class Guidance(Sampling):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Sampling.Config):
        evaluations: Count = 50
        weights: list[NonNegative] = field(default_factory=lambda: [1.0, 1.5, 2.0, 3.0, 5.0])

    def settings(self) -> list[Setting]:
        return [(self.config.evaluations, w) for w in self.config.weights]

    def chosen(self) -> Setting:
        return self.config.evaluations, 2.0

    @classmethod
    def named(cls, evaluations: int, guidance: float) -> str:
        return f"w{guidance:g}"

    @classmethod
    def derived(cls, found: dict[str, float], observed: Mapping[str, np.ndarray], parameters: str) -> dict[str, float]:
        weights = observed["guidance"]
        fd = np.array([found[f"fd{parameters}/{cls.named(0, w)}"] for w in weights.tolist()])
        order = weights.argsort()
        middle = fd[order[len(fd) // 2]]
        return {
            **{f"fd_fall{parameters}": float(of - middle) for of in fd[weights == 1][:1]},
            f"fd_rise{parameters}": float(fd[order[-1]] - middle),
            f"best_guidance{parameters}": float(weights[fd.argmin()]),
            "guidance_trend": spearman(weights, observed["hits"].mean(0, dtype=np.float64)),
        }
