"""How many axes a model uses of codes that are larger than its data's dimension, which is known.

Data are ``x = scaled(B tanh(A u)) + 0.01 noise`` in 50 dimensions with u ~ N(0, I_k): a curved manifold of dimension k, with A (64, k)
and B (50, 64) drawn once, with a seed that belongs to the task. Methods see x alone.

* ``dimension``: relevant axes. An axis has the weight ``w_l = v_l sum_d (mean |dx_d / dz_l|)^2``, v its second moment ``E[mu^2 + sigma^2]``
  over the test data, the mean over the codes of 100 of them; the relevant ones are the fewest with more than 99 % of the sum. The same rule
  holds for all methods, also those that were not made for it.
* ``dimension_error``: its distance from k.
* ``nll[k=...]`` of the test data, by the k-sample bound; on validation data with k = 50 it chooses epochs and options, so that no choice
  knows the dimension.

Evidence: ``relevance`` (Z,), ``intrinsic``, ``log_evidence`` (N,) and ``k``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.dimension import relevance, relevant
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.data.task import chosen_by_likelihood

NOISE, HIDDEN, FEATURES = 0.01, 64, 50
JACOBIANS = 100  # codes over which the absolute Jacobian is averaged


def manifold(intrinsic: int, n: int, seed: int) -> Tensor:
    """``n`` points ``(n, FEATURES)`` of the task's manifold of dimension ``intrinsic``; ``seed`` draws the points, not the manifold."""
    shape = np.random.default_rng(intrinsic)
    a, b = shape.normal(size=(intrinsic, HIDDEN)) / np.sqrt(intrinsic), shape.normal(size=(HIDDEN, FEATURES))
    rng = np.random.default_rng([intrinsic, seed])

    def curved(u: np.ndarray) -> np.ndarray:
        return np.tanh(u @ a) @ b

    of_many = curved(shape.normal(size=(20_000, intrinsic)))
    x = (curved(rng.normal(size=(n, intrinsic))) - of_many.mean(0)) / of_many.std(0)
    return torch.from_numpy(x + NOISE * rng.normal(size=x.shape)).float()


class ManifoldDimension(Task):
    """The protocol; a subclass gives ``intrinsic``."""

    intrinsic = 0
    sets: ClassVar[Sets] = {"points": Examples(arrays=("log_evidence",), metrics=("nll",))}
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"nll": (5e-5, 0.0)}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 5000
        n_valid: Count = 500
        n_test: Count = 1000
        k: Count = 100  # samples of the bound

    def load_train(self) -> Data:
        c = self.config
        train, valid = manifold(self.intrinsic, c.n_train, 0), manifold(self.intrinsic, c.n_valid, 1)
        return Data(LikelihoodSpec((FEATURES,), len(train), likelihood="gaussian"), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": manifold(self.intrinsic, self.config.n_test, 2)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return chosen_by_likelihood(method, data.valid["x"], self.device)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["x"].to(self.device)
        mean, logvar = method.encode(x)
        weights = relevance(method.decode, mean[:JACOBIANS], (mean**2 + logvar.exp()).mean(0))
        log_p = torch.cat([method.log_evidence(part, self.config.k) for part in x.split(100)])
        arrays = {"relevance": weights.double().cpu().numpy(), "log_evidence": log_p.cpu().double().numpy()}
        return Observed({**arrays, "intrinsic": np.array(self.intrinsic), "k": np.array(self.config.k)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        dimension = float(relevant(observed["relevance"]).sum())
        found = {"dimension": dimension, "dimension_error": abs(dimension - float(observed["intrinsic"]))}
        return {**found, f"nll[k={int(observed['k'])}]": -float(observed["log_evidence"].mean(dtype=np.float64))}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**observed, "log_evidence": observed["log_evidence"].astype(np.float32)}
