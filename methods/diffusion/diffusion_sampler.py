"""A way to draw from a trained class-conditional diffusion: the same weights, another sampler (Shah, Gromis and Pinto 2024).

    ancestral        x_s ~ q(x_s | x_t, data^)                                          Ho, Jain and Abbeel 2020, algorithm 2
    ddim             alpha_s data^ + sigma_s eps^ (eta = 0)                             Song, Meng and Ermon 2021, eq. 12
    euler, heun      the probability flow by its slope at one or both ends of a step    Song et al. 2021; Karras et al. 2022
    dpm-solver-2, dpm-solver++2m    solvers of the second order                         Lu et al. 2022, 2023
    euler-maruyama   the reverse stochastic equation                                    Song et al. 2021, eq. 6

The reference is the ancestral sampler, for which the model was made. Steps are even in time (``spacing``), as the linear sub-sequences of
DDIM are (which ones the report took: not verified). Nothing is trained: ``base.path=vp-cosine`` takes a model of another schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.sampling import StepSampler
from elboard.bench.method import Method
from elboard.bench.options import Options
from elboard.bench.task import Data

CARD = MethodCard(
    name="diffusion-sampler",
    title="A sampler of a trained diffusion",
    family="diffusion",
    home="sampling/mnist14",
    paper="097",
    bases={
        "model": {
            "method": "ddpm-cfg",
            "task": {"sampling/mnist14": "conditional/mnist14", "sampling/mnist14-guidance": "conditional/mnist14"},
        }
    },
    defaults="paper",
)


class DiffusionSampler(Method, StepSampler):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Options):
        sampler: Literal["euler", "heun", "ddim", "dpm-solver-2", "dpm-solver++2m", "ancestral", "euler-maruyama"] = "ddim"
        spacing: Literal["time", "log-snr", "karras"] = "time"

    def fit(self, data: Data, training: Any) -> None:
        return

    def draw(self, y: Tensor, evaluations: int, guidance: float) -> Tensor:
        return self.base.drawn(y, self.config.sampler, evaluations, self.config.spacing, guidance)

    def reference(self, y: Tensor, evaluations: int) -> Tensor:
        return self.base.drawn(y, "ancestral", evaluations, "time", 1.0)
