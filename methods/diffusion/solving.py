"""What solvers of a known flow share: a path, and times between whose ends the steps lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from elboard.bench.kinds.diffusion import FlowSolver, Score
from elboard.bench.method import Bases, Method
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.diffusion_paths import View, path_of
from elboard.methods.parts.diffusion_solvers import CALLS, EARLIEST, SAMPLERS, Model, SamplerName, times_of


class Solving(Method, FlowSolver):
    """A subclass names its ``sampler``. Nothing is learned."""

    sampler: ClassVar[SamplerName]

    @dataclass(kw_only=True)
    class Config(Method.Config):
        path: Literal["vp-linear", "vp-cosine", "flow", "ve"] = "vp-linear"
        spacing: Literal["time", "log-snr", "karras"] = "log-snr"  # of the times

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.path = path_of(config.path)
        self.ends, self.calls = (self.path.latest, EARLIEST), CALLS.get(self.sampler, 1)

    def fit(self, data: Data, training: Any) -> None:
        pass

    def model(self, score: Score) -> Model:
        """The exact denoiser: noise = -sigma score, and the data that belongs to it."""

        def of(x: Tensor, t: Tensor) -> View:
            return self.path.view("score", score(x, self.path.alpha(t), self.path.sigma(t)), x, t)

        return of

    def start(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.path.noised(x, noise, x.new_tensor(self.ends[0]))

    def slope(self, score: Score, x: Tensor, t: float) -> Tensor:
        """f x - g^2 score / 2 (Song et al. 2021, eq. 13)."""
        time = x.new_tensor(t)
        f, squared = self.path.drift(time)
        return f * x - 0.5 * squared * score(x, self.path.alpha(time), self.path.sigma(time))

    @torch.no_grad()
    def solve(self, score: Score, x: Tensor, steps: int) -> Tensor:
        times = times_of(self.path, steps, self.config.spacing, dtype=x.dtype).to(x.device)
        return SAMPLERS[self.sampler](self.model(score), self.path, x, times)
