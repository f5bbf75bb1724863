"""What variational methods share that are given a density alone: min_q E_q[-log p(theta)] - H(q)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from elboard.bench.kinds.posterior import PosteriorSampler
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Range
from elboard.bench.task import Batch, Data, DataSpec


class DensityMethod(Method, PosteriorSampler):
    """A subclass is the law: draws that parameters can be moved by, and its entropy."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        weight_decay: Annotated[float, Range(0, 0)] = 0.0  # the prior is in the density
        schedule: Literal["constant", "cosine"] = "cosine"
        samples: Count = 32  # a training step

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.oracle: Any = None

    def prepare(self, data: Data) -> None:
        self.oracle = data.oracle

    @abstractmethod
    def theta(self, noise: Tensor) -> Tensor:
        """Draws ``(N, D)`` of standard normal ``noise`` (N, D)."""

    @abstractmethod
    def entropy(self, noise: Tensor) -> Tensor:
        """In nats."""

    def _noise(self, n: int) -> Tensor:
        some = next(self.parameters())
        return torch.randn(n, self.spec.shape[0], dtype=some.dtype, device=some.device)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        noise = self._noise(self.config.samples)
        log_p, entropy = self.oracle.log_prob(self.theta(noise)).mean(), self.entropy(noise)
        return {"loss": -log_p - entropy, "log_p": log_p, "entropy": entropy}

    def draw(self, n: int) -> Tensor:
        return self.theta(self._noise(n)).detach()
